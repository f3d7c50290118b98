"""Checks of a vocabulary. Errors make it unusable; `hints.py` finds probable mistakes."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from ovrcoat.issues import MAX_EXAMPLES, Issue
from ovrcoat.vocabulary.catalog import is_published
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import MAX_CATEGORIES
from ovrcoat.vocabulary.hints import find_hints, make_issue, shorten

TextLength = Callable[[str], tuple[int, int]]  # text -> its number of tokens, the largest number allowed

# Unicode categories: control, format, lone surrogate, line separator, paragraph separator.
INVISIBLE_KINDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = {"\u200c", "\u200d"}  # format characters inside Persian names and emoji
# In addition to all P (punctuation) and Z (separators). So (other symbols) is left out: it includes emoji.
PUNCTUATION_KINDS = {"Sm", "Sc", "Sk"}


def find_errors(
    categories: Sequence[Category],
    background: Sequence[Category],
    *,
    text_length: TextLength | None = None,
) -> tuple[Issue, ...]:
    """Find what makes a vocabulary unusable; `find_issues` describes the arguments."""
    if not categories:
        message = (
            "the vocabulary contains no class names; write for example 'cat, kitty; wall#stuff', or the name "
            "of a preset such as 'coco'"
        )
        return (make_issue("vocabulary-empty", message),)
    every = (*categories, *background)
    names = list(dict.fromkeys(name for category in every for name in category.names))
    return (
        *_check_size(every),
        *_check_characters(names),
        *_check_shared(categories, background),
        *_check_ids(categories),
        *(() if text_length is None else _check_length(names, text_length)),
    )


def find_issues(
    categories: Sequence[Category],
    background: Sequence[Category],
    *,
    repeats: Sequence[str] = (),
    changes: Sequence[tuple[str, str]] = (),
    skipped: Sequence[str] = (),
    text_length: TextLength | None = None,
) -> tuple[Issue, ...]:
    """Check a vocabulary.

    Args:
        categories: the categories.
        background: the background classes.
        repeats: names that were dropped because their category already had them.
        changes: pairs of names as written and as used.
        skipped: names of the file that were left out.
        text_length: returns the number of tokens of a name and the largest number allowed. None: lengths are
            not checked.

    Returns:
        Errors, warnings and notes. Each kind occurs at most once, with examples.
    """
    errors = find_errors(categories, background, text_length=text_length)
    if not categories:
        return errors
    hints = find_hints(categories, background, repeats=repeats, changes=changes, skipped=skipped)
    return (*errors, *hints)


def _check_size(every: Sequence[Category]) -> Iterator[Issue]:
    if len(every) > MAX_CATEGORIES:
        yield make_issue(
            "vocabulary-too-large",
            f"{len(every):,} categories are too many, {MAX_CATEGORIES:,} are allowed; split the vocabulary",
        )


def _check_characters(names: Sequence[str]) -> Iterator[Issue]:
    if blank := [name for name in names if not name.strip()]:
        yield make_issue("name-blank", "names are blank; remove them", examples=blank)
    if invisible := [name for name in names if any(map(_is_invisible, name))]:
        yield make_issue(
            "name-invisible-characters",
            "names contain line breaks, control or invisible characters; remove those characters",
            examples=invisible,
        )
    if signs := [name for name in names if name.strip() and all(map(_is_punctuation, name))]:
        yield make_issue(
            "name-punctuation", "names consist of nothing but punctuation; write class names", examples=signs
        )


def _check_shared(categories: Sequence[Category], background: Sequence[Category]) -> Iterator[Issue]:
    """Find names that belong to several categories. Presets, which have some as published, are exempt."""
    owners: defaultdict[str, dict[int, str]] = defaultdict(dict)
    first = len(categories) if is_published(categories) else 0
    for position, category in enumerate((*categories, *background)):
        for name in category.names:
            owners[name.casefold()][position] = name
    shared = [found[min(found)] for found in owners.values() if len(found) > 1 and max(found) >= first]
    if shared:
        yield make_issue(
            "name-in-several-categories",
            "names belong to more than one category (background classes included); keep each name in one",
            examples=shared,
        )


def _check_ids(categories: Sequence[Category]) -> Iterator[Issue]:
    counts = Counter(category.id for category in categories)
    if repeated := sorted(id for id, count in counts.items() if count > 1):
        yield make_issue(
            "category-id-repeated",
            "categories have the same id; give each category its own id",
            examples=repeated,
        )


def _check_length(names: Sequence[str], text_length: TextLength) -> Iterator[Issue]:
    lengths = {name: text_length(name) for name in names}
    if too_long := [name for name, (tokens, limit) in lengths.items() if tokens > limit]:
        _, limit = lengths[too_long[0]]
        message = f"names are too long: the model's text tower takes {limit} tokens; shorten them"
        examples = [f"{shorten(name)} has {lengths[name][0]} tokens" for name in too_long[:MAX_EXAMPLES]]
        yield Issue("error", "name-too-long", message, examples=examples, count=len(too_long))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE_KINDS and character not in JOINERS


def _is_punctuation(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] in "PZ" or kind in PUNCTUATION_KINDS
