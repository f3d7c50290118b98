"""What the files of each photo are called, so that no photo's result lands on another's, or on a photo."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def output_names(photos: Sequence[Path]) -> tuple[str, ...]:
    """One name per photo, without suffix, none twice (upper and lower case count as equal).

    A photo whose stem is unique among `photos` keeps it, whatever their order. Others get their folder's name
    in front, then their suffix behind, then a number, until they differ: a/cat.jpg, b/cat.jpg → a-cat, b-cat.
    """
    names = [photo.stem for photo in photos]
    for fuller in (_with_folder, _with_suffix):
        count = Counter(name.casefold() for name in names)
        names = [
            fuller(name, photo) if count[name.casefold()] > 1 else name
            for name, photo in zip(names, photos, strict=True)
        ]
    taken: set[str] = set()
    numbered = []
    for name in names:
        candidate, number = name, 2
        while candidate.casefold() in taken:
            candidate, number = f"{name}-{number}", number + 1
        taken.add(candidate.casefold())
        numbered.append(candidate)
    return tuple(numbered)


def _with_folder(name: str, photo: Path) -> str:
    folder = photo.resolve().parent.name
    return f"{folder}-{name}" if folder else name


def _with_suffix(name: str, photo: Path) -> str:
    return f"{name}-{photo.suffix[1:]}" if photo.suffix else name
