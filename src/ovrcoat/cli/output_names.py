"""Names of output files: unique, and never the name of an input image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ovrcoat.results.coco import output_stem
from ovrcoat.system.paths import resolve


def output_names(images: Sequence[Path]) -> tuple[str, ...]:
    """Return one name per image, without suffix; all are distinct, also on case-insensitive file systems.

    An image whose stem is unique keeps it. Other names are extended until they differ: first by the name of
    the folder, then by the suffix, then by a number: a/cat.jpg, b/cat.jpg → a-cat, b-cat. Names that are too
    long for a file system are shortened.
    """
    names = [image.stem for image in images]
    for fuller in (_with_folder, _with_suffix):
        count = Counter(name.casefold() for name in names)
        names = [
            fuller(name, image) if count[name.casefold()] > 1 else name
            for name, image in zip(names, images, strict=True)
        ]
    taken: set[str] = set()
    numbered = []
    for name in map(output_stem, names):
        candidate, number = name, 2
        while candidate.casefold() in taken:
            candidate, number = f"{name}-{number}", number + 1
        taken.add(candidate.casefold())
        numbered.append(candidate)
    return tuple(numbered)


def _with_folder(name: str, image: Path) -> str:
    folder = resolve(image).parent.name
    return f"{folder}-{name}" if folder else name


def _with_suffix(name: str, image: Path) -> str:
    return f"{name}-{image.suffix[1:]}" if image.suffix else name
