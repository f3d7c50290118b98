"""What an evaluation found, as one JSON document: settings, numbers per γ, and tallies per photo.

The tallies are what `compare` resamples. All is checked on the way in: a report may come from a stranger.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ovrcoat._version import __version__
from ovrcoat.config import Fraction, TrustSetting
from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.issues import Issue
from ovrcoat.vocabulary import Category, Vocabulary

FORMAT: Final = "ovrcoat evaluation 1"
MAX_BYTES = 512 * 2**20  # COCO's 118,287 training images with two γ take about 200 MB
SHOWN = 3  # faults of a broken file that the message names

Count = Annotated[int, Field(ge=0, le=2**53)]  # pixels or segments; the upper end keeps sums exact
ImageId = int | str
CountsOfCategory = tuple[Count, Count, Count, Annotated[float, Field(ge=0)]]  # tp, fp, fn, sum of IoU
PixelsOfCategory = tuple[Count, Count, Count]  # intersection, truth, predicted


class Part(BaseModel):
    """Base: frozen; what a later version may add is left out."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )


class ModelFacts(Part):
    """Which model: its name or path's last part, the SHA-256 (hexadecimal) of its weights, their origin."""

    name: str
    hash: str
    provenance: dict[str, JsonValue] = {}


class DataFacts(Part):
    """Which images: `root` is the last part of the folder's path, `fingerprint` that of `Dataset`."""

    name: str
    split: str | None = None
    root: str | None = None
    images: Count
    fingerprint: str


class GroupScore(Part):
    """Means over the `n` categories of a group that count, 0..1; None if there are none."""

    pq: Fraction | None
    sq: Fraction | None
    rq: Fraction | None
    n: Count


class CategoryScore(Part):
    """Panoptic quality of one category, 0..1; None if nothing counts."""

    tp: Count
    fp: Count
    fn: Count
    iou_sum: Annotated[float, Field(ge=0)]
    pq: Fraction | None
    sq: Fraction | None
    rq: Fraction | None


class PanopticScores(Part):
    """What `PanopticQuality.report` gives: groups by name (All, Things, ...), categories by id."""

    unit: str = "fraction (0..1)"
    groups: dict[str, GroupScore]
    per_class: dict[int, CategoryScore]


class SemanticScores(Part):
    """What `MeanIou.report` gives: percent; lists in the order of the vocabulary; None: undefined."""

    unit: str = "percent (0..100)"
    mean_iou: float | None = Field(alias="mIoU")
    frequency_weighted_iou: float | None = Field(alias="fwIoU")
    mean_accuracy: float | None = Field(alias="mACC")
    pixel_accuracy: float | None = Field(alias="pACC")
    iou: tuple[float | None, ...]
    acc: tuple[float | None, ...]


class InstanceCategory(Part):
    """Mask AP of one category in percent; None: undefined."""

    name: str
    ap: float | None = Field(alias="AP")
    ap50: float | None = Field(alias="AP50")


class InstanceScores(Part):
    """What `InstanceAp.report` gives: COCO's twelve statistics in percent, and AP by category id."""

    unit: str = "percent (0..100)"
    stats: dict[str, float | None]
    per_class: dict[int, InstanceCategory]


class ErrorAnalysisRow(Part):
    """How many true segments had this outcome, by group (All, Seen, Unseen)."""

    outcome: str
    meaning: str
    counts: dict[str, Count]


class ErrorAnalysisScores(Part):
    """What `ErrorAnalysis.report` gives: true segments by what became of them; `segments` are all of a group."""

    rows: tuple[ErrorAnalysisRow, ...]
    segments: dict[str, Count]
    per_category: dict[int, dict[str, Count]]


class RunReport(Part):
    """The numbers of one γ; a task that was not evaluated is None."""

    trust: TrustSetting
    panoptic: PanopticScores | None = None
    semantic: SemanticScores | None = None
    instance: InstanceScores | None = None
    error_analysis: ErrorAnalysisScores | None = None


class ImageTallies(Part):
    """What one image adds, by `trust_key` and category id; categories with nothing are left out."""

    image_id: ImageId
    panoptic: dict[str, dict[int, CountsOfCategory]] = {}
    semantic: dict[str, dict[int, PixelsOfCategory]] = {}


class EvaluationReport(Part):
    """One evaluation: `EvaluationReport(model=ModelFacts(...), data=DataFacts(...), runs=(...), ...)`.

    Attributes:
        created: time in UTC, ISO 8601.
        ovrcoat: the version that wrote it.
        protocol: every setting that a number depends on: sizes, α, β, thresholds, background, oracle, seed.
        vocabulary: `Vocabulary.to_dict` of the words asked; category ids are the data set's own.
        seen_category_ids: categories that training knew; None if nobody asked.
        runs: one per γ, at least one.
        images: one per evaluated photo.
        timing: seconds, as the evaluator measured them.
    """

    format: Literal["ovrcoat evaluation 1"] = FORMAT
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    ovrcoat: str = __version__
    model: ModelFacts
    data: DataFacts
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
            raise ValueError(f"runs: one γ comes twice ({', '.join(keys)}), expected each once")
        if len({image.image_id for image in self.images}) < len(self.images):
            raise ValueError("images: an image comes twice, expected each image_id once")
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
                    f"images: image {image.image_id!r} has tallies of category {min(named - known)}, "
                    "which is not in the vocabulary"
                )
        return self

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories asked, in their order."""
        try:
            return Vocabulary.from_dict(self.vocabulary).categories
        except VocabularyError as error:
            raise ValueError(f"vocabulary: {error}") from error

    @property
    def trusts(self) -> tuple[float | str, ...]:
        """The γ that there are numbers for."""
        return tuple(run.trust for run in self.runs)

    def run(self, trust: float | int | str) -> RunReport:
        """The numbers of one γ.

        Raises:
            DatasetError: there are none.
        """
        for run in self.runs:
            if trust_key(run.trust) == trust_key(trust):
                return run
        known = ", ".join(trust_key(trust) for trust in self.trusts)
        raise DatasetError(
            f"the report on {self.model.name} has no numbers for γ = {trust_key(trust)}, only for {known}; "
            f"choose one of these, or evaluate again with --trust {trust_key(trust)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The document, without indents: the tallies of thousands of images would double in size."""
        return self.model_dump_json() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "the report") -> "EvaluationReport":
        """Read what `to_json` wrote, perhaps by a stranger's hand; `origin` stands in messages.

        Raises:
            DatasetError: it is no such document, of another version, damaged, or contradicts itself.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DatasetError(f"{origin}: {_what_is_wrong(error)}") from error

    @classmethod
    def read(cls, path: Path) -> "EvaluationReport":
        """Read a report's file.

        Raises:
            DatasetError: there is none, it is too large, or see `from_json`.
        """
        try:
            if (size := path.stat().st_size) > MAX_BYTES:
                raise DatasetError(
                    f"{path} has {size:,} bytes, expected at most {MAX_BYTES:,}: this is hardly a report of "
                    "ovrcoat evaluate; check the path"
                )
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"cannot read the report {path} ({error.strerror or error}): "
                "give the report.json that ovrcoat evaluate has written"
            ) from error
        return cls.from_json(content, origin=str(path))


def trust_key(trust: float | int | str) -> str:
    """The key of a γ in the tallies: "0", "0.5"."""
    return trust if isinstance(trust, str) else f"{trust:g}"


def _what_is_wrong(error: ValidationError) -> str:
    """The first faults in words; of a foreign or newer document only that it is one."""
    faults = error.errors(include_url=False)
    for fault in faults:
        if fault["loc"] == ("format",):
            return f"its format is {fault['input']!r}, expected {FORMAT!r}: use the version that wrote it"
    if faults[0]["type"] == "json_invalid":
        return f"it is no JSON or cut off ({faults[0]['msg']}); copy it again, or evaluate again"
    shown = "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'top'}: {fault['msg']}" for fault in faults[:SHOWN]
    )
    more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
    return f"this is no report of ovrcoat evaluate, or a damaged one: {shown}{more}. Evaluate again"
