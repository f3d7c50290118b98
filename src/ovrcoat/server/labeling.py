"""X-AnyLabeling's shapes: its requests and responses, and a result as polygons."""

import base64
import binascii
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ovrcoat.choices import Task
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.server.api_errors import ApiError
from ovrcoat.server.polygons import mask_polygons
from ovrcoat.server.schemas import ClassItem, ClassText, Fraction, SegmentRequest, Trust

DEFAULT_VOCABULARY = "coco"
DEFAULT_EPSILON = 0.001  # X-AnyLabeling's own default
_DATA_URL = re.compile(r"data:[\w.+/-]{0,80};base64,")


class PredictParams(BaseModel):
    """How to segment. Parameters of X-AnyLabeling that do not apply here are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    text_prompt: str | None = Field(
        default=None, description="Class names, separated by periods or commas, as X-AnyLabeling sends them."
    )
    conf_threshold: Fraction = Field(default=0.0, description="Segments with lower scores are left out.")
    epsilon_factor: Fraction = Field(
        default=DEFAULT_EPSILON, description="Detail of the polygons, relative to the length of the outline."
    )
    replace: bool = Field(default=False, description="Whether the client removes its existing shapes.")
    vocabulary: ClassText | list[ClassText | ClassItem] | None = Field(
        default=None, description="Class names; takes precedence over `text_prompt`."
    )
    task: Task = "panoptic"
    trust: Trust = None
    background: ClassText | list[ClassText] = "auto"


class PredictRequest(BaseModel):
    """A request of X-AnyLabeling."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    model: str
    image: Annotated[str, Field(min_length=1)] = Field(description="Base64, or a data URL with base64.")
    params: PredictParams = PredictParams()

    def image_bytes(self) -> bytes:
        """Return the content of the image file.

        Raises:
            ApiError: `image` is not base64. URLs and paths are not read.
        """
        head = _DATA_URL.match(self.image)
        try:
            return base64.b64decode(self.image[head.end() if head else 0 :], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ApiError(
                422,
                "invalid_image",
                f"the field 'image' is not base64 ({error}), expected the base64 of an image file; paths and "
                "links are not read",
            ) from error

    def segment_request(self) -> SegmentRequest:
        """Return the same request for the inference path."""
        params = self.params
        return SegmentRequest(
            vocabulary=params.vocabulary or _class_names(params.text_prompt) or DEFAULT_VOCABULARY,
            task=params.task,
            trust=params.trust,
            background=params.background,
            masks="none",
        )


class Shape(BaseModel):
    """A polygon: one part of a segment."""

    label: str
    shape_type: str = "polygon"
    points: list[list[float]]
    score: float
    group_id: int | None = Field(description="Equal for the parts of one segment; null for a single part.")
    description: str | None = None
    difficult: bool = False
    direction: float = 0
    flags: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    kie_linking: list[Any] = []


class Shapes(BaseModel):
    """All polygons of an image."""

    shapes: list[Shape]
    description: str = ""
    replace: bool


class PredictAnswer(BaseModel):
    """The response to a request of X-AnyLabeling."""

    success: bool = True
    data: Shapes


def predict_answer(result: AnyResult, params: PredictParams) -> PredictAnswer:
    """Return the segments of a result as polygons."""
    shapes = []
    for segment in result.segments:
        if segment.score < params.conf_threshold:
            continue
        polygons = mask_polygons(result.mask(segment.id), epsilon_factor=params.epsilon_factor)
        for polygon in polygons:
            shapes.append(
                Shape(
                    label=segment.category,
                    points=[*polygon.tolist(), polygon[0].tolist()],  # closed, as its own server does
                    score=min(segment.score, 1.0),
                    group_id=segment.id if len(polygons) > 1 else None,
                )
            )
    return PredictAnswer(data=Shapes(shapes=shapes, replace=params.replace))


def _class_names(text: str | None) -> list[str | ClassItem]:
    """Split X-AnyLabeling's prompt: at periods, or at commas if there are none."""
    separator = "." if text and "." in text else ","
    return [name.strip() for name in (text or "").split(separator) if name.strip()]
