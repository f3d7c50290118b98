"""Endpoints about the server itself: health, metrics, models and vocabularies."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ovrcoat.server import responses
from ovrcoat.server.api_errors import ApiError
from ovrcoat.server.openapi import errors
from ovrcoat.server.schemas import HealthAnswer, PresetAnswer, PresetList, ReadyAnswer
from ovrcoat.server.state import server_state
from ovrcoat.vocabulary import list_presets

router = APIRouter(tags=["server"])


@router.get("/health", responses=errors())
async def health() -> HealthAnswer:
    """Return that the process is running. Needs no token."""
    return HealthAnswer(status="healthy", models_loaded=1, timestamp=datetime.now(UTC).isoformat())


@router.get("/ready", responses=errors())
async def ready(request: Request) -> ReadyAnswer:
    """Return that the model is loaded, and how full the queue is. Needs no token."""
    worker = server_state(request).worker
    return ReadyAnswer(status="ready", queue=worker.admitted, queue_size=worker.queue_size)


@router.get(
    "/metrics",
    response_class=Response,
    responses=errors() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus's text format."""
    return Response(server_state(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/vocabularies", responses=errors())
async def vocabularies() -> PresetList:
    """List the vocabularies that come with the package."""
    return responses.presets()


@router.get("/v1/vocabularies/{name}", responses=errors(404))
async def vocabulary(name: Annotated[str, Path(description="The name of a preset.")]) -> PresetAnswer:
    """Return the categories of a preset."""
    if name not in list_presets():
        raise ApiError(
            404,
            "vocabulary_not_found",
            f"there is no vocabulary {name[:80]!r}; GET /v1/vocabularies lists all of them",
        )
    return responses.preset(name)
