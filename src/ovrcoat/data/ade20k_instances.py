"""ADE20K's instance labels: RGB PNGs with the class 1..100 in red and the instance's number in green."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from ovrcoat.data.instances import mask_entry
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId
from ovrcoat.vocabulary import Category, Vocabulary


@cache
def things() -> tuple[Category, ...]:
    """Return the 100 things in the order of the instance classes, which is the order of their ids."""
    return tuple(category for category in Vocabulary.named("ade20k").categories if category.is_thing)


def thing_entries() -> list[dict[str, Any]]:
    """Return the `categories` of an instances JSON."""
    return [{"id": category.id, "name": category.name} for category in things()]


def instance_masks(
    labels: Int32[np.ndarray, "height width 3"], *, location: str
) -> Iterator[tuple[int, int, Bool[np.ndarray, "height width"]]]:
    """Yield (number, category id, mask) of each instance in ascending order; number 0 is not an instance.

    Raises:
        DatasetError: An instance has several classes, or a class that does not exist.
    """
    numbers = labels[..., 1]
    for number in np.unique(numbers).tolist():
        if number == 0:
            continue
        mask = numbers == number
        classes = np.unique(labels[..., 0][mask]).tolist()
        if len(classes) != 1 or not 1 <= classes[0] <= len(things()):
            raise DatasetError(
                f"{location}: instance {number} (green) has the class {' and '.join(map(str, classes))} "
                f"(red), expected one from 1 to {len(things())}; use the annotations_instance of the 2017 "
                "challenge"
            )
        yield number, things()[classes[0] - 1].id, mask


def instance_annotations(
    labels: Int32[np.ndarray, "height width 3"], *, image_id: ImageId, first_id: int, location: str
) -> list[dict[str, Any]]:
    """Convert one image to COCO's instance annotations, numbered from `first_id`.

    Raises:
        DatasetError: As for `instance_masks`.
        MissingExtraError: pycocotools is not installed.
    """
    return [
        {"id": id, "image_id": image_id, "category_id": category_id, "iscrowd": 0, **mask_entry(mask)}
        for id, (_, category_id, mask) in enumerate(instance_masks(labels, location=location), start=first_id)
    ]
