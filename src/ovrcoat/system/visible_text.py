"""Text for people: characters that could control a terminal or disguise other text are shown escaped.

Every printer of the package shows names, paths and messages through `visible`: the command line, summaries,
logs of the server and of training, Markdown and CSV. JSON has escapes of its own.
"""

import unicodedata

# Unicode categories: control, format (zero width, direction), bytes that are not UTF-8, line breaks.
ESCAPED_KINDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and symbols without any ink: Hangul fillers and the empty Braille pattern.
BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
JOINERS = frozenset("\u200c\u200d")  # zero width, but part of Persian and Indic words and of emoji
VIRAMA = 9  # combining class of the signs after which Indic scripts have joiners


def visible(text: str) -> str:
    r"""Return a text with control, format and blank characters as escapes such as `\x1b` and `\u202e`.

    Applying it again changes nothing. Joiners stay where scripts and emoji need them.
    """
    if text.isprintable() and BLANKS.isdisjoint(text):
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if _is_escaped(character, before=text[position - 1 : position])
        else character
        for position, character in enumerate(text)
    )


def visible_lines(text: str) -> str:
    """Return a text of several lines like `visible`; only newlines stay."""
    return "\n".join(map(visible, text.split("\n")))


def _is_escaped(character: str, *, before: str) -> bool:
    if character in JOINERS:
        return not (before and _takes_joiner(before))
    return character in BLANKS or unicodedata.category(character) in ESCAPED_KINDS


def _takes_joiner(character: str) -> bool:
    """Return whether a joiner is usual after a character: an Arabic letter, a virama or an emoji."""
    return (
        unicodedata.bidirectional(character) == "AL"
        or unicodedata.combining(character) == VIRAMA
        or unicodedata.category(character) in ("So", "Sk")  # emoji and their skin tones
        or character == "\ufe0f"  # selects the emoji form of the symbol before it
    )
