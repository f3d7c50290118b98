"""JournalEntry: everything that the report needs to know about one image."""

from pydantic import BaseModel, ConfigDict, Field

from ovrcoat.evaluation.journal import JournalLine
from ovrcoat.evaluation.metrics.error_analysis import CategoryOutcome
from ovrcoat.evaluation.metrics.mean_iou import Cell
from ovrcoat.evaluation.reports.report import PanopticCounts
from ovrcoat.formats.annotations import ImageId


class RunLengthMask(BaseModel):
    """A mask as compressed run lengths in COCO's format; `size` is (height, width)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int]
    counts: str


class Detection(BaseModel):
    """One detection in COCO's results format, without image id and box."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    category_id: int
    segmentation: RunLengthMask
    score: float


class JournalEntry(JournalLine):
    """Results of one image. Dictionaries are indexed by γ (see `trust_key`).

    Attributes:
        image_id: Id of the image in the dataset.
        content: Fingerprint of the image and its labels; the entry is not used after they have changed.
        seconds: Time that the image took, without reading it.
        panoptic: Panoptic counts by category id.
        error_analysis: Category id and outcome of each ground-truth segment.
        areas_differ: Descriptions of the segments whose area in the JSON is not their number of pixels.
        semantic: Non-zero cells of the confusion matrix, see `MeanIou.add`.
        instance: Detections.
    """

    image_id: ImageId
    content: str = ""
    seconds: float
    panoptic: dict[str, dict[int, PanopticCounts]] = Field(default={})
    error_analysis: dict[str, tuple[CategoryOutcome, ...]] = Field(default={})
    areas_differ: tuple[str, ...] = ()
    semantic: dict[str, tuple[Cell, ...]] = Field(default={})
    instance: dict[str, tuple[Detection, ...]] = Field(default={})
