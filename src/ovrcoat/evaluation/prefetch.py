"""Reads images and their ground truth in a background thread while the network runs."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.dataset import Dataset
from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.formats.annotations import Record
from ovrcoat.system.prefetch import prefetch

MAX_PREFETCHED = 3  # images that wait for the network
MAX_PREFETCHED_BYTES = 256 * 2**20  # their memory; 12 megapixels take about 100 MB with ground truth

ReadError = ImageError | DatasetError  # why an image or its ground truth cannot be used


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A decoded image and the kinds of ground truth that the evaluation needs.

    Attributes:
        image: The upright image.
        panoptic: Panoptic ground truth, None if not needed.
        semantic: Category index of each pixel, negative at ignored pixels; None if not needed.
        content: Fingerprint of the image and its labels, see `Dataset.record_fingerprint`.
    """

    image: LoadedImage
    panoptic: PanopticTruth | None
    semantic: Int32[np.ndarray, "height width"] | None
    content: str = ""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        maps = (self.panoptic.id_map if self.panoptic else None, self.semantic)
        return self.image.pixels.nbytes + sum(labels.nbytes for labels in maps if labels is not None)


def load_sample(record: Record, *, dataset: Dataset, panoptic: bool, semantic: bool) -> Sample | ReadError:
    """Read one image and its ground truth.

    Args:
        record: The image.
        dataset: The dataset that contains it.
        panoptic: Read the panoptic ground truth.
        semantic: Read the semantic ground truth.

    Returns:
        The sample, or the error if a file cannot be read or the labels do not have the size of the image.
    """
    content = dataset.record_fingerprint(record)  # before reading: a later change is then noticed on resuming
    try:
        name = PurePosixPath(record.image).name  # by which its masks are found, if they come from files
        image = replace(read_image(dataset.image(record)), name=name)
        truth = dataset.panoptic(record) if panoptic else None
        category_map = dataset.semantic(record) if semantic else None
    except (DatasetError, ImageError) as error:
        return error
    height, width, _ = image.pixels.shape
    for labels in (truth.id_map if truth else None, category_map):
        if labels is not None and labels.shape != (height, width):
            return DatasetError(
                f"{record.image} has {width} × {height} pixels (after rotation by its EXIF orientation), but "
                f"its labels {record.labels} have {labels.shape[1]} × {labels.shape[0]}; label the rotated "
                "image"
            )
    return Sample(image, truth, category_map, content)


def prefetch_samples(
    records: Sequence[Record], load: Callable[[Record], Sample | ReadError]
) -> Generator[tuple[Record, Sample | ReadError], None, None]:
    """Yield each record and its `load(record)`, in order; the next ones are loaded in a background thread."""
    return prefetch(
        records,
        lambda record: (record, load(record)),
        name="read-ahead",
        max_items=MAX_PREFETCHED,
        size_of=lambda pair: pair[1].nbytes if isinstance(pair[1], Sample) else 0,
        max_bytes=MAX_PREFETCHED_BYTES,
    )
