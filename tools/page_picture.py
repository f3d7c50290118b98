"""Take the picture of the web page for the README: one image with COAT and without, and why a pixel is void.

    pip install -e '.[serve,dev]'                  # and Chromium; Debian: apt install chromium
    python tools/page_picture.py docs/images/page.png

The picture records which weights made it, as those of contact_sheet.py do.
"""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, sync_playwright

from contact_sheet import comment

SIZE = {"width": 1280, "height": 860}  # pixels
EXAMPLE = "Coffee"
CLASSES = "cup#thing; table#stuff"
TRUSTS = {"A": "adaptive", "B": "0"}
PLACE = (0.45, 0.45)  # of the pixel that is explained, in B: shares of width and height, on the cup


def main(target: Path) -> None:
    """Start a server, use its page, and save the picture."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: no Chromium was found; Debian: apt install chromium")
    with _server() as url, sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = running.new_page(viewport=SIZE)
        page.goto(url)
        use(page)
        shot = page.screenshot()
        running.close()
    record = PngInfo()
    record.add_text("comment", comment().decode())
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").save(target, optimize=True, pnginfo=record)


@contextmanager
def _server() -> Iterator[str]:
    """Run a server with nano; the value is its address, which it prints once it is ready."""
    command = [sys.executable, "-m", "ovrcoat", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[4]
        finally:
            process.terminate()


def use(page: Page) -> None:
    """Segment the example with both settings of γ, without background classes, and click on the cup in B."""
    page.wait_for_selector("body[data-ready]")
    page.click(f"#examples button:has-text('{EXAMPLE}')")
    page.wait_for_selector("#view-A[data-painted]")
    page.click("#clear-classes")
    page.fill("#class-input", CLASSES)
    page.click("#add-class")
    page.check("#compare")
    for side, trust in TRUSTS.items():
        page.select_option(f"#background-{side}", "none")
        page.set_checked(f"#adaptive-{side}", trust == "adaptive")
        if trust != "adaptive":
            page.eval_on_selector(
                f"#trust-{side}",
                "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
                trust,
            )
    for side, trust in TRUSTS.items():
        page.wait_for_selector(f'#view-{side}[data-painted="{trust}"]')
    page.wait_for_timeout(2000)  # γ = 0 is painted with background classes first; a new result closes details
    box = page.locator("#canvas-B").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + PLACE[0] * box["width"], box["y"] + PLACE[1] * box["height"])
    page.wait_for_selector("#details .summary")
    page.mouse.move(SIZE["width"] / 2, 10)  # away from the image, where a tooltip would hide a part of it
    page.wait_for_selector("#tooltip", state="hidden")
    page.evaluate("window.scrollTo(0, 0)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"error: expected the path of the picture\n\n{__doc__}")
    main(Path(sys.argv[1]))
