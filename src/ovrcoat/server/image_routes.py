"""Endpoints for images: upload once and segment many times, or both in one request."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from ovrcoat.server.api_errors import ApiError, describe_validation
from ovrcoat.server.image_store import StoredImage
from ovrcoat.server.openapi import errors, upload_body
from ovrcoat.server.schemas import (
    ExplainAnswer,
    ExplainRequest,
    ExportRequest,
    ImageAnswer,
    SegmentAnswer,
    SegmentRequest,
)
from ovrcoat.server.service import SegmentationService
from ovrcoat.server.state import server_state
from ovrcoat.server.uploads import read_upload

router = APIRouter(prefix="/v1", tags=["segmentation"])
ImageId = Annotated[str, Path(description="The id of an uploaded image.", pattern="^[A-Za-z0-9_-]{1,64}$")]
JSON: dict[int | str, dict[str, Any]] = {200: {"model": SegmentAnswer}}
EXPLANATION: dict[int | str, dict[str, Any]] = {200: {"model": ExplainAnswer}}
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}

ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post(
    "/images",
    status_code=201,
    response_model=ImageAnswer,
    responses=errors(408, 413, 415, 422, 429, 503),
    openapi_extra=upload_body(with_request=False, raw=True),
)
async def add_image(request: Request) -> ImageAnswer:
    """Upload an image. It is encoded once and kept for further requests."""
    state = server_state(request)
    with state.worker.slot():
        upload = await read_upload(request, state.settings, raw=True)
        stored = await state.worker.run(request, lambda job: state.service.encode(upload.image, job))
    height, width = stored.encoded.sizes.output
    id = state.images.add(stored)
    return ImageAnswer(id=id, width=width, height=height, expires_in=state.settings.cache_seconds)


@router.delete("/images/{image_id}", status_code=204, responses=errors(404, 422))
async def remove_image(image_id: ImageId, request: Request) -> None:
    """Remove an image from the server's memory."""
    server_state(request).images.remove(image_id)


@router.post(
    "/images/{image_id}/segment",
    response_class=Response,
    responses=JSON | errors(400, 404, 408, 413, 422, 429, 503),
)
async def segment_image(image_id: ImageId, body: SegmentRequest, request: Request) -> Response:
    """Segment an uploaded image."""
    content = await _compute(request, image_id, lambda service, stored: service.segment(stored, body))
    return Response(content, media_type="application/json")


@router.post(
    "/images/{image_id}/explain",
    response_class=Response,
    responses=EXPLANATION | errors(400, 404, 408, 413, 422, 429, 503),
)
async def explain_image(image_id: ImageId, body: ExplainRequest, request: Request) -> Response:
    """Explain for every mask, and for one pixel if given, why it is or is not part of the result."""
    content = await _compute(request, image_id, lambda service, stored: service.explain(stored, body))
    return Response(content, media_type="application/json")


@router.post(
    "/images/{image_id}/overlay",
    response_class=Response,
    responses=PNG | errors(400, 404, 408, 413, 422, 429, 503),
)
async def draw_image(image_id: ImageId, body: SegmentRequest, request: Request) -> Response:
    """Segment an uploaded image, and return it with the segments drawn over it."""
    content = await _compute(request, image_id, lambda service, stored: service.overlay(stored, body))
    return Response(content, media_type="image/png")


@router.post(
    "/images/{image_id}/export",
    response_class=Response,
    responses=ZIP | errors(400, 404, 408, 413, 422, 429, 503),
)
async def export_image(image_id: ImageId, body: ExportRequest, request: Request) -> Response:
    """Segment an uploaded image, and return a zip file with its labels in the formats of other tools."""
    content = await _compute(request, image_id, lambda service, stored: service.export(stored, body))
    headers = {"Content-Disposition": 'attachment; filename="labels.zip"'}
    return Response(content, media_type="application/zip", headers=headers)


@router.post(
    "/segment",
    response_class=Response,
    responses=JSON | errors(408, 413, 415, 422, 429, 503),
    openapi_extra=upload_body(with_request=True, raw=False),
)
async def segment_upload(request: Request) -> Response:
    """Upload and segment an image in one request. The image is not kept."""
    state = server_state(request)
    with state.worker.slot():
        upload = await read_upload(request, state.settings)
        body = _parse_request(upload.request)
        content = await state.worker.run(
            request, lambda job: state.service.segment_upload(upload.image, body, job)
        )
    return Response(content, media_type="application/json")


async def _compute(
    request: Request, image_id: str, work: Callable[[SegmentationService, StoredImage], bytes]
) -> bytes:
    """Run work on an uploaded image in the inference worker.

    Raises:
        ApiError: there is no such image, the queue is full, or the work failed.
    """
    state = server_state(request)
    stored = state.images.get(image_id)
    with state.worker.slot():
        return await state.worker.run(request, lambda job: work(state.service, stored))


def _parse_request(text: str | None) -> SegmentRequest:
    """Validate the text field `request` of a form.

    Raises:
        ApiError: it is missing, not JSON, or not valid.
    """
    if text is None:
        raise ApiError(
            422,
            "request_missing",
            'the form has no text field \'request\', expected JSON such as {"vocabulary": "cat; sofa"}',
        )
    try:
        return SegmentRequest.model_validate_json(text)
    except ValidationError as error:
        message = describe_validation(error.errors(include_url=False, include_input=False))
        raise ApiError(422, "invalid_request", f"field 'request': {message}") from error
