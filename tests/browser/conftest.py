"""A real browser, driven by Playwright, on the page of a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from browser_path import find_browser
from http_server import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIMEOUT = 30_000  # ms: a shared machine may be slow


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def segmenter() -> Any:
    find_browser()  # first: without one there is nothing to serve
    from ovrcoat.segmentation.segmenter import Segmenter

    return Segmenter.load("nano", device="cpu", text_cache=None)


@pytest.fixture(scope="session")
def server(segmenter: Any) -> Iterator[httpx.Client]:
    """A client of a server with nano."""
    with serve(segmenter) as client:
        yield client


@pytest.fixture
def page(browser: "Browser", server: httpx.Client) -> Iterator["Page"]:
    """The page in a new profile. Errors of its scripts, and requests to other hosts, fail the test."""
    url = str(server.base_url)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=url)
    context.set_default_timeout(TIMEOUT)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"error: {error}"))
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((url, "blob:", "data:"))
            else problems.append(f"request to another host: {request.url}")
        ),
    )
    opened.on(
        "console",
        lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None,
    )
    opened.goto("/")
    opened.wait_for_selector("body[data-ready]")
    yield opened
    context.close()
    assert problems == []


@pytest.fixture(scope="session")
def cat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image file of 451 × 300 pixels."""
    from PIL import Image
    from skimage import data

    path = tmp_path_factory.mktemp("images") / "my cat.png"
    Image.fromarray(data.chelsea()).save(path)
    return path
