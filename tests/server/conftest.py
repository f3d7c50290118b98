"""Real uvicorn servers in threads, on free ports; nano is loaded once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from http_server import MakeClient


@pytest.fixture(scope="session")
def nano() -> Any:
    from ovrcoat.segmentation.segmenter import Segmenter

    return Segmenter.load("nano", device="cpu", text_cache=None)


@pytest.fixture(scope="session")
def serving(nano: Any) -> MakeClient:
    """Run a server with some settings, and return a client of it."""

    @contextmanager
    def run(**settings: object) -> Iterator[httpx.Client]:
        from ovrcoat.server.addresses import allowed_hosts
        from ovrcoat.server.app import create_app
        from ovrcoat.server.listening import make_server, open_socket, url_of
        from ovrcoat.server.settings import ServerSettings

        app = create_app(
            nano,
            model="nano",
            settings=ServerSettings(**{"allowed_hosts": allowed_hosts("127.0.0.1"), **settings}),
        )
        ready = threading.Event()
        with open_socket("127.0.0.1", 0) as listener:
            server = make_server(app, grace_seconds=20.0, on_ready=ready.set)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                assert ready.wait(20)
                with httpx.Client(base_url=url_of(listener, "127.0.0.1"), timeout=60) as client:
                    client.app = app  # type: ignore[attr-defined]
                    yield client
            finally:
                server.should_exit = True
                thread.join(30)
                assert not thread.is_alive()

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
