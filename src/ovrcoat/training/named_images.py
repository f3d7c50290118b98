"""Images with one name for the whole picture and no masks, such as ImageNet's: images/ and labels.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovrcoat.data.files import FileTree
from ovrcoat.data.images import read_image
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.training.config import ImageNamesConfig
from ovrcoat.training.crops import LabelledImage
from ovrcoat.training.sources import beside, not_held_out
from ovrcoat.vocabulary import Category, Vocabulary

ADVICE = "A folder of named images holds images/ and labels.json, a list of objects with file_name and {key}."


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image's path in its folder, and the place of its name."""

    image: str
    label: int


@dataclass(frozen=True, slots=True)
class NamedImages:
    """A source of samples without masks: nothing is labelled, so nothing that is found is punished."""

    tree: FileTree
    records: tuple[NamedImage, ...]
    vocabulary: Vocabulary
    weight: float  # how often it is drawn, relative to the others

    def image(self, record: NamedImage) -> LabelledImage:
        """Read a photo.

        Raises:
            DatasetError: it is missing.
        """
        pixels = read_image(self.tree.read(record.image)).pixels
        truth = PanopticTruth(np.zeros(pixels.shape[:2], dtype=np.int32), ())
        return LabelledImage(record.image, pixels, truth, all_labelled=False, name_number=record.label)


def open_named_images(settings: ImageNamesConfig, *, base: Path) -> NamedImages:
    """Those that may be trained on, and all names, each once.

    Raises:
        DatasetError: the folder is missing or faulty, or no image is left.
    """
    path = Path(beside(settings.path, base)).expanduser()
    tree = FileTree(path, home=path.stem)
    content = tree.read("labels.json", advice=ADVICE.format(key="name"))
    pairs = read_labels(content, key="name", place=tree.describe("labels.json"))
    names = tuple(dict.fromkeys(name for _, name in pairs))
    number_of = {name: number for number, name in enumerate(names)}
    records = tuple(
        NamedImage(f"images/{file}", number_of[name])
        for file, name in not_held_out(pairs, settings, file_of=lambda pair: pair[0])
    )
    categories = tuple(Category((name,), is_thing=True, id=number) for number, name in enumerate(names, 1))
    return NamedImages(tree, records, Vocabulary(categories), settings.weight)


def read_labels(content: bytes, *, key: str, place: str) -> list[tuple[str, str]]:
    """File names of labels.json, and what each has under `key`; `place` is for messages.

    Raises:
        DatasetError: it is damaged or of another form, or names no photo.
    """
    advice = ADVICE.format(key=key)
    try:
        entries: Any = json.loads(content)
        pairs = [(entry["file_name"], entry[key]) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{place}: {type(error).__name__}: {error}. {advice}") from error
    if not pairs or not all(isinstance(text, str) for pair in pairs for text in pair):
        raise DatasetError(f"{place} names no image, or holds something else than texts. {advice}")
    return pairs
