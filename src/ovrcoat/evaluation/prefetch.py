"""Photos and truths, read by one thread while the network works on the photo before."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.dataset import Dataset, Record
from ovrcoat.data.images import Photo, read_image
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.system.prefetch import ahead

AHEAD = 3  # photos in memory that wait for the network
AHEAD_BYTES = 256 * 2**20  # and what they may take; one of 12 megapixels takes some 100 MB with its truth


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A decoded photo and the truths that were asked for."""

    photo: Photo
    panoptic: PanopticTruth | None
    semantic: Int32[np.ndarray, "height width"] | None

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        maps = (self.panoptic.id_map if self.panoptic else None, self.semantic)
        return self.photo.pixels.nbytes + sum(labels.nbytes for labels in maps if labels is not None)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a photo or its truth cannot be used."""

    reason: str


def load_sample(record: Record, *, dataset: Dataset, panoptic: bool, semantic: bool) -> Sample | Unreadable:
    """Read one photo with the truths asked for; all have one size."""
    try:
        photo = read_image(dataset.photo(record))
        truth = dataset.panoptic(record) if panoptic else None
        category_map = dataset.semantic(record) if semantic else None
    except (DatasetError, ImageError) as error:
        return Unreadable(str(error))
    height, width, _ = photo.pixels.shape
    for labels in (truth.id_map if truth else None, category_map):
        if labels is not None and labels.shape != (height, width):
            return Unreadable(
                f"{record.photo} has {width} × {height} pixels (upright, by its EXIF mark), its labels "
                f"{record.labels} have {labels.shape[1]} × {labels.shape[0]}; label the upright photo"
            )
    return Sample(photo, truth, category_map)


def read_ahead(
    records: Sequence[Record], load: Callable[[Record], Sample | Unreadable]
) -> Generator[tuple[Record, Sample | Unreadable], None, None]:
    """Each record with what `load` makes of it, in order; `AHEAD` of them are loaded beforehand."""
    return ahead(
        records,
        lambda record: (record, load(record)),
        name="read-ahead",
        most=AHEAD,
        size_of=lambda pair: pair[1].nbytes if isinstance(pair[1], Sample) else 0,
        most_bytes=AHEAD_BYTES,
    )
