"""Measure how long the web page takes from a move of the γ slider to the new picture on the screen.

    python benchmarks/page_latency.py

Needs the extra `dev` and a chromium. The image has 640 × 480 pixels, and the browser and the server with nano
share the machine. Encoding is not part of a measurement. Each move waits for the picture of the one before.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage import data

SIZE = (640, 480)
CLASSES = "cup; spoon; saucer; table#stuff; cat; dog; person; sofa; wall#stuff; floor#stuff"
# Moves the slider and resolves to milliseconds: until the picture was painted (the frame after the drawing
# has begun), and the server's share of that.
MOVE = """trust => new Promise(resolve => {
    const slider = document.getElementById('trust-A');
    let start = 0;
    document.addEventListener('ovrcoat:painted', () => {
        requestAnimationFrame(() => {
            const request = performance.getEntriesByType('resource')
                .findLast(entry => entry.name.endsWith('/segment'));
            resolve([performance.now() - start, request.responseEnd - request.startTime]);
        });
    }, {once: true});
    performance.clearResourceTimings();
    slider.value = trust;
    start = performance.now();
    slider.dispatchEvent(new Event('input'));
})"""


def main() -> None:
    """Print median and 95th percentile."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--moves", type=int, default=60, help="number of slider moves")
    moves = options.parse_args().moves
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium was found; Debian: apt install chromium")
    with tempfile.TemporaryDirectory() as folder, _server() as url, sync_playwright() as playwright:
        image = Path(folder) / "coffee.png"
        Image.fromarray(data.coffee()).resize(SIZE).save(image)
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        page.fill("#class-input", CLASSES)
        page.click("#add-class")
        page.set_input_files("#file", image)
        page.wait_for_selector("#view-A[data-painted]")
        times = [page.evaluate(MOVE, _trust(move)) for move in range(moves)]
        running.close()
    for name, value in describe().items():
        print(f"{name}: {value}")
    _report("slider input to new picture", [total for total, _ in times])
    _report("of this: the request", [request for _, request in times])


def _trust(move: int) -> float:
    """Return a trust that differs from the one before, 0 to 1 in steps of 0.01."""
    return (37 * (move + 1)) % 101 / 100


def _report(name: str, milliseconds: list[float]) -> None:
    times = sorted(milliseconds)
    p95 = statistics.quantiles(times, n=20)[-1]
    print(
        f"{name}: median {statistics.median(times):.0f} ms, 95th percentile {p95:.0f} ms, "
        f"maximum {times[-1]:.0f} ms, {len(times)} moves"
    )


@contextmanager
def _server() -> Iterator[str]:
    """Run a server with nano; the value is its address."""
    command = [sys.executable, "-m", "ovrcoat", "serve", "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[4]
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
