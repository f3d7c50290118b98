"""What annotation files state about an image: where its files are and which segments it has."""

from dataclasses import dataclass

ImageId = int | str


@dataclass(frozen=True, slots=True)
class TrueSegment:
    """A labelled region.

    Attributes:
        id: its value in the id map, 1..2²⁴ - 1.
        category_id: the data set's own number of its category.
        area: pixels as the JSON says, which need not be true (ADE20K's conversion).
        is_crowd: a group of things that nobody took apart: neither to be found nor to be missed.
    """

    id: int
    category_id: int
    area: int
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """An image and where its labels lie; paths are relative to the data set's root, with forward slashes.

    `labels` is the file that the segments or the semantic map are drawn in; `segments` is empty for data
    sets without panoptic labels.
    """

    image_id: ImageId
    image: str
    labels: str
    segments: tuple[TrueSegment, ...] = ()
