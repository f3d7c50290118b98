"""The application: endpoints, access rules, limits and the page around one segmenter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from ovrcoat._version import __version__
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.server import image_routes, info_routes, labeling_routes
from ovrcoat.server.api_errors import CLIENT_CLOSED_REQUEST, add_error_handlers
from ovrcoat.server.image_store import ImageStore
from ovrcoat.server.metrics import Metrics, RequestMetrics
from ovrcoat.server.middleware import AccessRules, BodyLimit, SecurityHeaders, TimeLimit
from ovrcoat.server.service import SegmentationService
from ovrcoat.server.settings import ServerSettings
from ovrcoat.server.state import State
from ovrcoat.server.worker import CanceledError, InferenceWorker

EXPIRY_CHECKS = 4  # per lifetime of an image


def create_app(segmenter: Segmenter, *, model: str, settings: ServerSettings | None = None) -> FastAPI:
    """Return the application that serves a model.

    Args:
        segmenter: the loaded model.
        model: its name, as listed by `GET /v1/models`.
        settings: limits and access rules.
    """
    settings = ServerSettings() if settings is None else settings
    worker = InferenceWorker(queue_size=settings.queue_size)
    images = ImageStore(max_bytes=settings.cache_bytes, seconds=settings.cache_seconds)
    metrics = Metrics(worker=worker, images=images)
    app = FastAPI(
        title="ovrcoat",
        version=__version__,
        summary="Open-vocabulary panoptic segmentation.",
        docs_url=None,  # Swagger UI and ReDoc are loaded from another host
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.server = State(
        model, settings, SegmentationService(segmenter, settings), worker, images, metrics
    )
    for router in (image_routes.router, info_routes.router, labeling_routes.router):
        app.include_router(router)
    _add_page(app)
    add_error_handlers(app)
    for left in (ClientDisconnect, CanceledError):
        app.add_exception_handler(left, _on_client_left)
    # the last one is the outermost
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(TimeLimit, settings=settings)
    app.add_middleware(AccessRules, settings=settings)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "token"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Remove expired images in the background while the application runs."""
    state = app.state.server
    expiry = asyncio.create_task(_remove_expired(state))
    try:
        yield
    finally:
        expiry.cancel()
        with suppress(asyncio.CancelledError):
            await expiry
        state.worker.close()


async def _remove_expired(state: State) -> None:
    while True:
        await asyncio.sleep(max(0.05, state.settings.cache_seconds / EXPIRY_CHECKS))
        state.images.remove_expired()


async def _on_client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody receives it


def _add_page(app: FastAPI) -> None:
    """Serve each file of the page at its own path: no other file can be reached."""
    folder = Path(str(resources.files("ovrcoat.server").joinpath("page")))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            _add_file(app, "/" if name == "index.html" else f"/{name}", path)


def _add_file(app: FastAPI, route: str, path: Path) -> None:
    async def serve(request: Request) -> Response:
        # browsers ask again each time: the files of one page must have one version
        return FileResponse(path, headers={"cache-control": "no-cache"})

    app.add_route(route, serve, include_in_schema=False)
