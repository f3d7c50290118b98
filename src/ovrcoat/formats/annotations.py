"""What annotation files state about an image: the paths of its files and its segments."""

from dataclasses import dataclass

ImageId = int | str
MAX_SEGMENTS = 100_000  # of one image, far more than any labels have
AREA_NOT_GIVEN = -1  # the area is counted from the pixels


@dataclass(frozen=True, slots=True)
class SegmentAnnotation:
    """One labeled segment of an image.

    Attributes:
        id: Value of its pixels in the id map, 1..2²⁴ - 1.
        category_id: Id of its category in the dataset's own numbering.
        area: Number of pixels as stated in the JSON, or `AREA_NOT_GIVEN`. It can be wrong, as in ADE20K's
            published conversion.
        is_crowd: True for a group of things that the annotators did not separate. A crowd counts neither as
            found nor as missed.
    """

    id: int
    category_id: int
    area: int
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One labeled image. Paths are relative to the dataset's root and use forward slashes.

    Attributes:
        image_id: Id in the annotation file, or the file's name without suffix.
        image: Path of the image.
        labels: Path of the file that stores its segments or its semantic map.
        segments: Its segments; empty for datasets without panoptic labels.
    """

    image_id: ImageId
    image: str
    labels: str
    segments: tuple[SegmentAnnotation, ...] = ()
