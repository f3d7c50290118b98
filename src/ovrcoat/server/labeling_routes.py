"""The protocol by which X-AnyLabeling uses remote models."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from ovrcoat._version import __version__
from ovrcoat.server.api_errors import ApiError, describe_validation
from ovrcoat.server.labeling import PredictAnswer, PredictRequest
from ovrcoat.server.openapi import errors, json_body
from ovrcoat.server.state import State, server_state

router = APIRouter(prefix="/v1", tags=["models"])
# The controls that X-AnyLabeling shows: class names, score threshold, detail of the polygons.
WIDGETS: tuple[tuple[str, Any], ...] = (
    ("button_run", None),
    ("edit_text", None),
    ("button_send", None),
    ("input_conf", None),
    ("edit_conf", 0.0),
    ("mask_fineness_slider", 10),
    ("mask_fineness_value_label", None),
)


class Widget(BaseModel):
    """A control of X-AnyLabeling and its initial value."""

    name: str
    value: float | None


class ModelParams(BaseModel):
    """How a model runs."""

    device: str
    trust: float | str
    version: str = Field(description="Version of ovrcoat.")


class ModelEntry(BaseModel):
    """A model of this server."""

    display_name: str
    widgets: list[Widget]
    params: ModelParams
    batch_processing_mode: str


class ModelList(BaseModel):
    """The models of this server by id."""

    success: bool = True
    data: dict[str, ModelEntry]


class ModelDetails(ModelEntry):
    """A model and its id."""

    model_id: str


class ModelAnswer(BaseModel):
    """One model of this server."""

    success: bool = True
    data: ModelDetails


@router.get("/models", responses=errors())
async def models(request: Request) -> ModelList:
    """List the models of this server."""
    state = server_state(request)
    return ModelList(data={state.model: _entry(state)})


@router.get("/models/{model_id}/info", responses=errors(404))
async def model_info(
    model_id: Annotated[str, Path(description="The id of a model.")], request: Request
) -> ModelAnswer:
    """Return one model of this server."""
    state = server_state(request)
    check_model(model_id, state)
    return ModelAnswer(data=ModelDetails(model_id=model_id, **_entry(state).model_dump()))


@router.post(
    "/predict",
    response_class=Response,
    responses=errors(400, 404, 408, 413, 422, 429, 503) | {200: {"model": PredictAnswer}},
    openapi_extra=json_body(PredictRequest),
)
async def predict(request: Request) -> Response:
    """Segment an image and return polygons."""
    state = server_state(request)
    with state.worker.slot():
        try:
            body = PredictRequest.model_validate_json(await request.body())
        except ValidationError as error:
            message = describe_validation(error.errors(include_url=False, include_input=False))
            raise ApiError(422, "invalid_request", message) from error
        check_model(body.model, state)
        content = await state.worker.run(request, lambda job: state.service.predict(body, job))
    return Response(content, media_type="application/json")


def check_model(model_id: str, state: State) -> None:
    """Raise an `ApiError` if this server has no such model."""
    if model_id != state.model:
        raise ApiError(
            404, "model_not_found", f"there is no model {model_id[:80]!r}; this server has {state.model!r}"
        )


def _entry(state: State) -> ModelEntry:
    segmenter = state.service.segmenter
    return ModelEntry(
        display_name=f"ovrcoat {state.model}",
        widgets=[Widget(name=name, value=value) for name, value in WIDGETS],
        params=ModelParams(
            device=str(segmenter.device), trust=segmenter.config.inference.trust, version=__version__
        ),
        batch_processing_mode="text_prompt",
    )
