"""A real browser, driven by Playwright, on the page of a real server."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 30_000  # ms: a shared machine may be slow


def find_browser() -> str:
    """Return the path of a browser. Continuous integration must have one; elsewhere the tests are skipped."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        message = "no chromium was found, which the tests of the web page need; Debian: apt install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def server() -> Iterator["Server"]:
    with Server() as running:
        yield running


@pytest.fixture
def page(browser: "Browser", server: "Server") -> Iterator["Page"]:
    """The page in a new profile. Errors of its scripts, and requests to other hosts, fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=server.url)
    context.set_default_timeout(TIMEOUT)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"error: {error}"))
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server.url, "blob:", "data:"))
            else problems.append(f"request to another host: {request.url}")
        ),
    )
    opened.goto("/")
    opened.wait_for_selector("body[data-ready]")
    yield opened
    context.close()
    assert problems == []


class Server:
    """A server with nano in a thread.

    Attributes:
        url: address of the page.
        app: the application.
    """

    def __enter__(self) -> "Server":
        from ovrcoat.segmentation.segmenter import Segmenter
        from ovrcoat.server.addresses import allowed_hosts
        from ovrcoat.server.app import create_app
        from ovrcoat.server.listening import make_server, open_socket, url_of
        from ovrcoat.server.settings import ServerSettings

        segmenter = Segmenter.load("nano", device="cpu", text_cache=None)
        settings = ServerSettings(allowed_hosts=allowed_hosts("127.0.0.1"))
        self.app = create_app(segmenter, model="nano", settings=settings)
        self._listener = open_socket("127.0.0.1", 0)
        self.url = url_of(self._listener, "127.0.0.1")
        ready = threading.Event()
        self._server = make_server(self.app, grace_seconds=20.0, on_ready=ready.set)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def cat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image file of 451 × 300 pixels."""
    from PIL import Image
    from skimage import data

    path = tmp_path_factory.mktemp("images") / "my cat.png"
    Image.fromarray(data.chelsea()).save(path)
    return path
