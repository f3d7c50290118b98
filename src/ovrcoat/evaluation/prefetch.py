"""Images and truths, read by one thread while the network works on the image before."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.dataset import Dataset
from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.formats.annotations import Record
from ovrcoat.system.prefetch import prefetch

AHEAD = 3  # images in memory that wait for the network
AHEAD_BYTES = 256 * 2**20  # and what they may take; one of 12 megapixels takes some 100 MB with its truth


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A decoded image and the truths that were asked for."""

    image: LoadedImage
    panoptic: PanopticTruth | None
    semantic: Int32[np.ndarray, "height width"] | None

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        maps = (self.panoptic.id_map if self.panoptic else None, self.semantic)
        return self.image.pixels.nbytes + sum(labels.nbytes for labels in maps if labels is not None)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why an image or its truth cannot be used."""

    reason: str


def load_sample(record: Record, *, dataset: Dataset, panoptic: bool, semantic: bool) -> Sample | Unreadable:
    """Read one image with the truths asked for; all have one size."""
    try:
        image = read_image(dataset.image(record))
        truth = dataset.panoptic(record) if panoptic else None
        category_map = dataset.semantic(record) if semantic else None
    except (DatasetError, ImageError) as error:
        return Unreadable(str(error))
    height, width, _ = image.pixels.shape
    for labels in (truth.id_map if truth else None, category_map):
        if labels is not None and labels.shape != (height, width):
            return Unreadable(
                f"{record.image} has {width} × {height} pixels (upright, by its EXIF mark), its labels "
                f"{record.labels} have {labels.shape[1]} × {labels.shape[0]}; label the upright image"
            )
    return Sample(image, truth, category_map)


def prefetch_samples(
    records: Sequence[Record], load: Callable[[Record], Sample | Unreadable]
) -> Generator[tuple[Record, Sample | Unreadable], None, None]:
    """Each record with what `load` makes of it, in order; `AHEAD` of them are loaded beforehand."""
    return prefetch(
        records,
        lambda record: (record, load(record)),
        name="read-ahead",
        most=AHEAD,
        size_of=lambda pair: pair[1].nbytes if isinstance(pair[1], Sample) else 0,
        most_bytes=AHEAD_BYTES,
    )
