"""Requests and responses of the API as pydantic models, from which the OpenAPI document is made."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ovrcoat.choices import Task
from ovrcoat.results.exports.table import FORMATS

Fraction = Annotated[float, Field(ge=0, le=1)]
ClassText = Annotated[str, Field(min_length=1)]
Trust = Fraction | Literal["adaptive"] | None
MasksFormat = Literal["png", "rle", "polygons", "none"]
FormatName = Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})]  # checked with the task


class RequestModel(BaseModel):
    """Base class of request bodies: unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class ClassItem(RequestModel):
    """A class with its synonyms."""

    name: ClassText
    synonyms: list[ClassText] = []
    is_thing: bool | None = Field(default=None, description="null: looked up in the presets.")


class SegmentRequest(RequestModel):
    """What to segment, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"vocabulary": "cat, kitty; sofa; wall#stuff", "trust": 0.5},
                {"vocabulary": [{"name": "cat", "synonyms": ["kitty"], "is_thing": True}, "wall#stuff"]},
            ]
        }
    )

    vocabulary: ClassText | Annotated[list[ClassText | ClassItem], Field(min_length=1)] = Field(
        description="Class names as text ('cat, kitty; sofa; wall#stuff'), the name of a preset, or a list "
        "of classes."
    )
    task: Task = Field(default="panoptic", description="The kind of result.")
    trust: Trust = Field(
        default=None, description="COAT's γ. null: the model's own value; 0 for the semantic task."
    )
    background: ClassText | list[ClassText] = Field(
        default="auto", description="Background classes: 'auto', 'on', 'none', a preset, or class names."
    )
    object_mask_threshold: Fraction | None = Field(default=None, description="Panoptic only.")
    overlap_threshold: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Panoptic only."
    )
    score_threshold: Fraction | None = Field(default=None, description="Instance only.")
    masks: MasksFormat = Field(
        default="png", description="Format of the masks: one id map, or one per segment."
    )


class ExplainRequest(SegmentRequest):
    """What to explain: the whole image, or one pixel of it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"vocabulary": "cat; sofa; wall#stuff", "point": [20, 30]}]}
    )

    point: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="[x, y] in pixels from the upper left corner."
    )


class ExportRequest(SegmentRequest):
    """What to segment, and the label formats to write."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"vocabulary": "cat; sofa; wall#stuff", "formats": ["labelme"]}]}
    )

    formats: Annotated[list[FormatName], Field(min_length=1, max_length=len(FORMATS))] = Field(
        description="Names of label formats, as `ovrcoat segment --format` takes them."
    )


class CategoryScore(BaseModel):
    """A category and its probability."""

    category: str
    score: float


class RunLengths(BaseModel):
    """A mask in COCO's run-length encoding."""

    size: list[int] = Field(description="[height, width]")
    counts: str | list[int]


class SegmentEntry(BaseModel):
    """One segment of a result."""

    id: int = Field(description="Value in the id map.")
    category_id: int
    category: str
    is_thing: bool
    score: float
    area: int = Field(description="Number of pixels.")
    bbox: list[int] = Field(description="[x, y, width, height] in pixels.")
    objectness: float = Field(description="After COAT, 0 to 1.")
    objectness_before: float = Field(description="Before COAT, 0 to 1.")
    clip_confidence: float
    rescued: bool = Field(description="Whether this segment exists only because of COAT.")
    color: list[int] = Field(description="[red, green, blue]")
    top: list[CategoryScore]
    segmentation: RunLengths | list[list[float]] | None = None


class VocabularyEntry(BaseModel):
    """A category of the vocabulary, whether it was found or not."""

    id: int
    name: str
    is_thing: bool
    color: list[int] = Field(description="[red, green, blue]")


class BackgroundEntry(BaseModel):
    """A background class that won pixels."""

    name: str
    share: float = Field(description="Share of the pixels of the image, which are void.")


class IssueEntry(BaseModel):
    """Something unusual about the vocabulary or the image."""

    severity: str
    message: str


class SegmentAnswer(BaseModel):
    """The segments of an image."""

    width: int
    height: int
    task: Task
    trust: float | Literal["adaptive"]
    segments: list[SegmentEntry]
    id_map: str | None = Field(
        default=None,
        description="Base64 of a COCO panoptic PNG: the id is R + 256 G + 65536 B, and 0 is void.",
    )
    categories: list[VocabularyEntry] = Field(description="The vocabulary, without background classes.")
    background: list[BackgroundEntry]
    issues: list[IssueEntry]
    seconds: float = Field(description="Computing time on the server.")


class ExplainAnswer(BaseModel):
    """The status of every mask of the decoder, and the reason for it; docs/python.md describes the keys."""

    width: int
    height: int
    settings: dict[str, Any] = Field(description="The settings that decided which masks were rejected.")
    counts: dict[str, int] = Field(description="Number of masks by status.")
    masks: list[dict[str, Any]] = Field(description="One entry per mask.")
    point: dict[str, Any] | None = Field(default=None, description="What the result shows at the pixel.")
    result: SegmentAnswer = Field(description="The segments, without masks.")


class ImageAnswer(BaseModel):
    """An uploaded image."""

    id: str
    width: int
    height: int
    expires_in: float = Field(description="Seconds after the last use until the image is removed.")


class PresetEntry(BaseModel):
    """A vocabulary that comes with the package."""

    name: str
    categories: int
    things: int


class PresetList(BaseModel):
    """All vocabularies that come with the package."""

    vocabularies: list[PresetEntry]


class CategoryEntry(BaseModel):
    """A category of a preset."""

    id: int
    name: str
    synonyms: list[str]
    is_thing: bool
    color: list[int]


class PresetAnswer(BaseModel):
    """The categories of a preset."""

    name: str
    categories: list[CategoryEntry]


class HealthAnswer(BaseModel):
    """The process is running."""

    status: Literal["healthy"]
    models_loaded: int
    timestamp: str


class ReadyAnswer(BaseModel):
    """The server accepts requests."""

    status: Literal["ready"]
    queue: int = Field(description="Requests that are waiting or computed.")
    queue_size: int
