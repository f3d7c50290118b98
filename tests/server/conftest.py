"""Real uvicorn servers in threads, on free ports; nano is loaded once."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from http_server import MakeClient, serve


@pytest.fixture(scope="session")
def nano() -> Any:
    from ovrcoat.segmentation.segmenter import Segmenter

    return Segmenter.load("nano", device="cpu", text_cache=None)


@pytest.fixture(scope="session")
def serving(nano: Any) -> MakeClient:
    """Run a server with some settings, and return a client of it."""

    def run(**settings: object) -> AbstractContextManager[httpx.Client]:
        return serve(nano, **settings)

    return run


@pytest.fixture(scope="session")
def client(serving: MakeClient) -> Iterator[httpx.Client]:
    """A client of the server that most tests share."""
    with serving() as shared:
        yield shared


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small image with something to find in it."""
    import io

    from PIL import Image
    from skimage import data

    buffer = io.BytesIO()
    Image.fromarray(data.chelsea()).resize((226, 150)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def image_id(client: httpx.Client, jpeg: bytes) -> str:
    """The id of `jpeg` on the shared server."""
    return client.post("/v1/images", files={"image": ("a.jpg", jpeg)}).raise_for_status().json()["id"]
