"""Hints about a vocabulary: warnings about probable mistakes, and notes about names that were changed."""

import re
from collections.abc import Callable, Iterator, Sequence

from ovrcoat.issues import MAX_EXAMPLES, Issue, Severity
from ovrcoat.vocabulary.background import select_background
from ovrcoat.vocabulary.catalog import closest_preset, is_published, look_up
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.names import is_code, is_placeholder
from ovrcoat.vocabulary.separators import likely_names

PROMPT = re.compile(
    r"(?:(?:this|there) is )?(?:an? |the )?(?:\w+ )?(?:photo|photograph|picture|image)s? of "
    r"(?:an? |the )?(.+)",
    re.IGNORECASE,
)
FOREIGN_SEPARATOR = re.compile(r"[|｜]|\\n")
# Unlike separators, "and" and spaces are part of many names, so both sides must be known classes.
CONJUNCTION = re.compile(r"\s+(?:and|or|&|\+)\s+|\s*&\s*")


def find_hints(
    categories: Sequence[Category],
    background: Sequence[Category],
    *,
    repeats: Sequence[str],
    changes: Sequence[tuple[str, str]],
    skipped: Sequence[str],
) -> Iterator[Issue]:
    """Find warnings and notes. `Vocabulary` describes the arguments."""
    yield from check_changes(changes)
    yield from _check_skipped(skipped)
    yield from _check_repeats(repeats)
    if not is_published(categories):
        yield from _check_meaning(categories)
    yield from _check_intention(categories)
    yield from _check_rivals(categories, background)


def find_model_hints(
    categories: Sequence[Category], background: Sequence[Category], *, is_unknown: Callable[[str], bool]
) -> Iterator[Issue]:
    """Find warnings that depend on the model, and on the background classes that were chosen.

    Args:
        categories: the categories.
        background: the background classes.
        is_unknown: whether the model's text tower cannot represent a name.
    """
    names = dict.fromkeys(name for category in (*categories, *background) for name in category.names)
    if found := [name for name in names if is_unknown(name)]:
        yield make_issue(
            "name-not-representable",
            "names contain characters that the model's text tower does not know, for example of another "
            "script, so these classes match at random; write the names in English",
            examples=found,
            severity="warning",
        )
    if len(categories) == 1 and not background:
        yield make_issue(
            "no-alternatives",
            f"{categories[0].name!r} is the only class and there are no background classes, so every mask "
            "gets this class; add classes, or use the background classes (the default)",
            severity="note",
        )


def make_issue(
    code: str, message: str, *, examples: Sequence[str | int] = (), severity: Severity = "error"
) -> Issue:
    """Return an issue whose first examples are quoted."""
    shown = [shorten(item) for item in list(examples)[:MAX_EXAMPLES]]
    return Issue(severity, code, message, examples=shown, count=max(1, len(examples)))


def shorten(item: str | int) -> str:
    """Return an item in quotes, at most 60 characters long."""
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_changes(changes: Sequence[tuple[str, str]]) -> Iterator[Issue]:
    """Report names that were replaced (`names.py`), and warn of codes that no preset contains."""
    examples: dict[bool, list[str]] = {False: [], True: []}
    for written, used in changes:
        is_known = is_placeholder(written) or _is_known(used.split(", ", maxsplit=1)[0])
        is_doubtful = is_code(written) and not is_known
        examples[is_doubtful].append(f"{shorten(written)} is read as {shorten(used)}")
    if found := examples[True]:
        yield Issue(
            "warning",
            "name-code",
            "names are codes that belong to no known dataset; check that the names that are used instead "
            "describe the classes, or rename them",
            examples=found[:MAX_EXAMPLES],
            count=len(found),
        )
    if found := examples[False]:
        yield Issue(
            "note",
            "name-recognized",
            "names are spelled as in a dataset and were replaced by plain class names",
            examples=found[:MAX_EXAMPLES],
            count=len(found),
        )


def _check_skipped(skipped: Sequence[str]) -> Iterator[Issue]:
    if skipped:
        yield make_issue(
            "name-skipped",
            "names of the file stand for no class and were left out",
            examples=skipped,
            severity="note",
        )


def _check_repeats(repeats: Sequence[str]) -> Iterator[Issue]:
    if repeats:
        yield make_issue(
            "name-repeated",
            "names are given twice in their category; the repetitions were dropped",
            examples=repeats,
            severity="warning",
        )


def _check_meaning(categories: Sequence[Category]) -> Iterator[Issue]:
    """Find names that do not say what a class looks like."""
    names = [name for category in categories for name in category.names]
    if found := [name for name in names if is_placeholder(name)]:
        yield make_issue(
            "name-placeholder",
            "names do not say what is visible, so these classes match at random; write names such as 'cat'",
            examples=found,
            severity="warning",
        )
    if prompts := [(name, match[1]) for name in names if (match := PROMPT.fullmatch(name))]:
        yield make_issue(
            "name-prompt",
            "names contain a prompt, but the model adds its own prompts to each name; write only the class, "
            f"for example {prompts[0][1]!r}",
            examples=[name for name, _ in prompts],
            severity="warning",
        )
    if len(names) > 1 and (joined := [name for name in names if FOREIGN_SEPARATOR.search(name)]):
        yield make_issue(
            "name-separator",
            "names contain separators; semicolons separate categories and commas separate synonyms",
            examples=joined,
            severity="warning",
        )


def _check_intention(categories: Sequence[Category]) -> Iterator[Issue]:
    """A vocabulary of one category often has a typing mistake."""
    if len(categories) > 1:
        return
    names = categories[0].names
    parts = list(names) if len(names) > 1 else likely_names(names[0]) or _known_parts(names[0])
    if len(parts) > 1:
        count = f"with {len(names)} names" if len(names) > 1 else f"named {shorten(names[0])}"
        message = (
            f"this is ONE category {count}; did you mean {'; '.join(parts[:5])!r}? "
            "Commas separate synonyms, semicolons separate categories"
        )
        yield make_issue("single-category", message, severity="warning")
    elif close := closest_preset(names[0]):
        message = f"{names[0]!r} is used as a class name; did you mean the preset {close!r}?"
        yield make_issue("preset-misspelled", message, severity="warning")


def _known_parts(name: str) -> list[str]:
    """Split "cat and dog" or "cat dog" if all parts, but not the whole name, are names of presets."""
    if _is_known(name):
        return []
    for parts in (CONJUNCTION.split(name), name.split()):
        if len(parts) > 1 and all(map(_is_known, parts)):
            return parts
    return []


def _is_known(name: str) -> bool:
    return look_up([name])[1] == "preset"


def _check_rivals(categories: Sequence[Category], background: Sequence[Category]) -> Iterator[Issue]:
    """Find background classes that would take segments away from the categories."""
    if not background or is_published(categories):
        return
    kept = {category.name for category in select_background(categories, pool=background)}
    names = {name.casefold() for category in categories for name in category.names}
    rivals = [
        category.name
        for category in background
        if category.name not in kept and names.isdisjoint(map(str.casefold, category.names))
    ]
    if rivals:
        yield make_issue(
            "background-rival",
            "background classes mean the same as your classes, or include them, and take segments away from "
            "them; remove these background classes",
            examples=rivals,
            severity="warning",
        )
