"""Uploaded images: request bodies are read into memory, never into files, and checked before decoding."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ovrcoat.data.decode import declared_pixels
from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.server.api_errors import ApiError
from ovrcoat.server.settings import ServerSettings

IMAGE_FIELD, REQUEST_FIELD = "image", "request"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Upload:
    """The body of an upload.

    Attributes:
        image: content of the image file.
        request: content of the text field `request`; None if there is none.
    """

    image: bytes
    request: str | None


async def read_upload(request: Request, settings: ServerSettings, *, raw: bool = False) -> Upload:
    """Read a multipart body with the file field `image`, or, if `raw`, also the bytes of an image.

    The size of the body is limited while it is received (`BodyLimit`).

    Raises:
        ApiError: the content type, a field or the form is not as expected.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == MULTIPART:
        return await _read_form(request, settings)
    if raw and (content_type.startswith("image/") or content_type == "application/octet-stream"):
        return Upload(await request.body(), None)
    expected = MULTIPART + (
        " with the file field 'image', or an image type such as image/jpeg" if raw else ""
    )
    raise ApiError(
        415,
        "unsupported_media_type",
        f"the content type is {content_type[:80] or 'missing'!r}, expected {expected}",
    )


def decode_image(content: bytes, settings: ServerSettings) -> LoadedImage:
    """Decode an image from memory.

    Raises:
        ApiError: it has too many pixels.
        ImageError: it is empty, damaged or not an image.
    """
    pixels = declared_pixels(content)
    if pixels is not None and pixels > settings.max_pixels:
        raise ApiError(
            413,
            "image_too_large",
            f"the image has {pixels:,} pixels, expected at most {settings.max_pixels:,}; shrink it",
        )
    return read_image(content)


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, and refuses forms that end early."""

    spool_max_size = 0  # 0: no size at which the content is moved to a temporary file
    has_ended = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self.has_ended = True


async def _read_form(request: Request, settings: ServerSettings) -> Upload:
    async def chunks() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk
        if not parser.has_ended:
            raise MultiPartException("it ends before its closing boundary")

    parser = _MemoryParser(
        request.headers, chunks(), max_files=1, max_fields=1, max_part_size=settings.max_request_bytes
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(
            422, "invalid_form", f"the form cannot be read: {error.message}; send one file field 'image'"
        ) from error
    try:
        image, text = form.get(IMAGE_FIELD), form.get(REQUEST_FIELD)
        if not isinstance(image, UploadFile):
            raise ApiError(
                422,
                "image_missing",
                f"the form has the fields {sorted(form)[:5]}, expected the file field {IMAGE_FIELD!r} (with "
                "a file name)",
            )
        return Upload(await image.read(), text if isinstance(text, str) else None)
    finally:
        await form.close()
