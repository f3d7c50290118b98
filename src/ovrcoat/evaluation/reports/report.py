"""The report of an evaluation as one JSON document: settings, numbers per γ, and counts per image.

`ovrcoat compare` resamples the counts per image. A report is validated when it is read, because it may come
from an untrusted source.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ovrcoat._version import __version__
from ovrcoat.choices import Trust
from ovrcoat.config import Fraction, TrustSetting
from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.json_files import encode_json
from ovrcoat.formats.json_models import decode_model, encode_model
from ovrcoat.issues import Issue
from ovrcoat.system.input_files import REPORT, read_input
from ovrcoat.system.paths import printable
from ovrcoat.vocabulary import Category, Vocabulary

FORMAT: Final = "ovrcoat evaluation 2"
MAX_SHOWN = 3  # errors of an invalid file that the message lists

Count = Annotated[int, Field(ge=0, le=2**53)]  # pixels or segments; the upper end keeps sums exact
PanopticCounts = tuple[Count, Count, Count, Annotated[float, Field(ge=0)]]  # tp, fp, fn, sum of IoU
PixelCounts = tuple[Count, Count, Count]  # intersection, ground truth, prediction


class ReportModel(BaseModel):
    """Base class: immutable; unknown fields, which a later version may add, are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )


class ModelInfo(ReportModel):
    """The evaluated model.

    Attributes:
        name: Name of the model, or the file name of its weights.
        hash: SHA-256 of the weights and the configuration, hexadecimal.
        provenance: Origin of the weights.
    """

    name: str
    hash: str
    provenance: dict[str, JsonValue] = {}


class DatasetInfo(ReportModel):
    """The evaluated dataset.

    Attributes:
        name: Name of the dataset.
        split: Its split, None if it has no splits.
        root: Name of its folder.
        images: Number of images in the dataset, including images that were not evaluated.
        fingerprint: See `Dataset.fingerprint`.
    """

    name: str
    split: str | None = None
    root: str | None = None
    images: Count
    fingerprint: str


class GroupScore(ReportModel):
    """Mean PQ, SQ and RQ (0..1) of the `n` categories of a group that count; None if there are none."""

    pq: Fraction | None
    sq: Fraction | None
    rq: Fraction | None
    n: Count


class CategoryScore(ReportModel):
    """Counts of one category, and its PQ, SQ and RQ (0..1); None if there is nothing to count."""

    tp: Count
    fp: Count
    fn: Count
    iou_sum: Annotated[float, Field(ge=0)]
    pq: Fraction | None
    sq: Fraction | None
    rq: Fraction | None


class PanopticScores(ReportModel):
    """Result of `PanopticQuality.report`: groups by name (All, Things, ...), categories by id."""

    unit: str = "fraction (0..1)"
    groups: dict[str, GroupScore]
    per_class: dict[int, CategoryScore]


class SemanticScores(ReportModel):
    """Result of `MeanIou.report` in percent; lists are in vocabulary order; None means undefined."""

    unit: str = "percent (0..100)"
    mean_iou: float | None = Field(alias="mIoU")
    frequency_weighted_iou: float | None = Field(alias="fwIoU")
    mean_accuracy: float | None = Field(alias="mACC")
    pixel_accuracy: float | None = Field(alias="pACC")
    iou: tuple[float | None, ...]
    acc: tuple[float | None, ...]


class InstanceCategory(ReportModel):
    """Mask AP of one category in percent; None means undefined."""

    name: str
    ap: float | None = Field(alias="AP")
    ap50: float | None = Field(alias="AP50")


class InstanceScores(ReportModel):
    """Result of `score_detections`: COCO's twelve statistics in percent, and AP by category id."""

    unit: str = "percent (0..100)"
    stats: dict[str, float | None]
    per_class: dict[int, InstanceCategory]


class ErrorAnalysisRow(ReportModel):
    """Number of ground-truth segments with one outcome, by group (All, Seen, Unseen)."""

    outcome: str
    meaning: str
    counts: dict[str, Count]


class ErrorAnalysisScores(ReportModel):
    """Result of `ErrorAnalysis.report`; `segments` is the number of ground-truth segments of each group."""

    rows: tuple[ErrorAnalysisRow, ...]
    segments: dict[str, Count]
    per_category: dict[int, dict[str, Count]]


class RunReport(ReportModel):
    """The numbers of one γ; None for tasks that were not evaluated."""

    trust: TrustSetting
    panoptic: PanopticScores | None = None
    semantic: SemanticScores | None = None
    instance: InstanceScores | None = None
    error_analysis: ErrorAnalysisScores | None = None


class ImageTallies(ReportModel):
    """Counts of one image by γ (see `trust_key`) and category id; categories without counts are left out."""

    image_id: ImageId
    panoptic: dict[str, dict[int, PanopticCounts]] = {}
    semantic: dict[str, dict[int, PixelCounts]] = {}


class EvaluationReport(ReportModel):
    """The report of one evaluation.

    Attributes:
        format: Format and its version; other versions are rejected.
        created: Creation time in UTC, ISO 8601.
        ovrcoat: Version of ovrcoat that wrote the report.
        model: The evaluated model.
        data: The evaluated dataset.
        protocol: All settings that the numbers depend on: sizes, α, β, thresholds, background classes,
            oracle.
        vocabulary: The vocabulary (`Vocabulary.to_dict`) with the category ids of the dataset.
        seen_category_ids: Ids of the seen categories; None if unknown.
        runs: The numbers of each γ, at least one.
        images: Counts of each evaluated image.
        timing: Wall-clock times in seconds, device and dtype.
        issues: What you should know about the numbers.
    """

    format: Literal["ovrcoat evaluation 2"] = FORMAT
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    ovrcoat: str = __version__
    model: ModelInfo
    data: DatasetInfo
    protocol: dict[str, JsonValue]
    vocabulary: dict[str, JsonValue]
    seen_category_ids: tuple[int, ...] | None = None
    runs: Annotated[tuple[RunReport, ...], Field(min_length=1)]
    images: tuple[ImageTallies, ...] = ()
    timing: dict[str, JsonValue] = {}
    issues: tuple[Issue, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "EvaluationReport":
        keys = [trust_key(run.trust) for run in self.runs]
        if len(set(keys)) < len(keys):
            raise ValueError(f"runs: duplicate γ ({', '.join(keys)}), expected each γ once")
        if len({image.image_id for image in self.images}) < len(self.images):
            raise ValueError("images: duplicate image_id, expected each image once")
        known = {category.id for category in self.categories}
        for run in self.runs:
            if run.semantic and not len(run.semantic.iou) == len(run.semantic.acc) == len(self.categories):
                raise ValueError(
                    f"runs: iou and acc have {len(run.semantic.iou)} and {len(run.semantic.acc)} entries, "
                    f"expected one for each of the {len(self.categories)} categories"
                )
        for image in self.images:
            named = set[int]().union(*image.panoptic.values(), *image.semantic.values())
            if not named <= known:
                raise ValueError(
                    f"images: image {image.image_id!r} has counts of category {min(named - known)}, "
                    "which is not in the vocabulary"
                )
        return self

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories of the vocabulary, in order."""
        try:
            return Vocabulary.from_dict(self.vocabulary).categories
        except VocabularyError as error:
            raise ValueError(f"vocabulary: {error}") from error

    @property
    def trusts(self) -> tuple[Trust, ...]:
        """The evaluated values of γ."""
        return tuple(run.trust for run in self.runs)

    def run(self, trust: Trust) -> RunReport:
        """Return the numbers of one γ.

        Raises:
            DatasetError: This γ was not evaluated.
        """
        for run in self.runs:
            if trust_key(run.trust) == trust_key(trust):
                return run
        known = ", ".join(trust_key(trust) for trust in self.trusts)
        raise DatasetError(
            f"the report of {self.model.name} has no numbers for γ = {trust_key(trust)}, only for {known}; "
            f"choose one of these, or evaluate again with --trust {trust_key(trust)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-serializable dictionary."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return the report as JSON without indentation, which would double the size of large reports."""
        return encode_model(self).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "the report") -> "EvaluationReport":
        """Parse and validate a report.

        Args:
            text: The JSON document.
            origin: Name of the document in error messages.

        Raises:
            DatasetError: The document is not a report, has another format version, is damaged or
                inconsistent.
        """
        try:
            return decode_model(cls, text if isinstance(text, bytes) else encode_json(text))
        except ValidationError as error:
            raise DatasetError(f"{origin}: {_describe(error)}") from error

    @classmethod
    def read(cls, path: Path) -> "EvaluationReport":
        """Read a report from a file.

        Raises:
            DatasetError: The file cannot be read or is too large, or its content is invalid (see
                `from_json`).
        """
        try:
            content = read_input(path, REPORT)
        except OSError as error:
            raise DatasetError(
                f"cannot read the report {printable(path)} ({error.strerror or error}): "
                "pass the report.json of ovrcoat evaluate"
            ) from error
        return cls.from_json(content, origin=str(path))


def trust_key(trust: Trust) -> str:
    """Return γ as text, for example "0", "0.5" or "adaptive"; reports and files use it as a key."""
    return trust if isinstance(trust, str) else f"{trust:g}"


def _describe(error: ValidationError) -> str:
    """Return the first validation errors as text, or only the format version if that is wrong."""
    details = error.errors(include_url=False)
    for detail in details:
        if detail["loc"] == ("format",):
            return (
                f"its format is {detail['input']!r}, expected {FORMAT!r}: use the version of ovrcoat that "
                "wrote it, or evaluate again"
            )
    if details[0]["type"] == "json_invalid":
        return f"not valid JSON, or truncated ({details[0]['msg']}); copy the file again, or evaluate again"
    shown = "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'top level'}: {detail['msg']}"
        for detail in details[:MAX_SHOWN]
    )
    more = f" (and {len(details) - MAX_SHOWN} more)" if len(details) > MAX_SHOWN else ""
    return f"this is not a report of ovrcoat evaluate, or it is damaged: {shown}{more}. Evaluate again"
