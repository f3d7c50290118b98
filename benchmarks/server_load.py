"""Load on `ovrcoat serve`: requests that are computed or refused, and memory over many requests.

    python benchmarks/server_load.py

Sends 200 concurrent requests to a server with a queue of 8, and then 2,000 small ones, one after the other.
"""

import io
import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image


def main() -> None:
    """Run both measurements and print them."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--concurrent", type=int, default=200)
    parser.add_argument("--requests", type=int, default=2_000)
    options = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "ovrcoat",
        "serve",
        "--port",
        "0",
        "--device",
        "cpu",
        "--queue-size",
        "8",
    ]
    environment = {**os.environ, "OVRCOAT_CACHE": "none", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[4]
            print(json.dumps(concurrent_requests(url, options.concurrent)))
            print(json.dumps(memory_over(url, options.requests, process.pid)))
        finally:
            process.terminate()


def concurrent_requests(url: str, count: int) -> dict[str, object]:
    """Send requests at once; return how many had which status."""
    content = make_image(640, 480)

    def send(_: int) -> int | str:
        try:
            return segment(client, content)
        except httpx.HTTPError as error:
            return type(error).__name__

    limits = httpx.Limits(max_connections=count)
    with httpx.Client(base_url=url, timeout=120, limits=limits) as client, ThreadPoolExecutor(count) as pool:
        start = time.perf_counter()
        statuses = Counter(pool.map(send, range(count)))
        seconds = time.perf_counter() - start
    return {"concurrent": count, "statuses": dict(statuses), "seconds": round(seconds, 2)}


def memory_over(url: str, count: int, process_id: int) -> dict[str, object]:
    """Send small requests one after the other; return the memory of the server in MiB on the way."""
    content = make_image(64, 48)
    memory = {}
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=url, timeout=120) as client:
        for number in range(1, count + 1):
            statuses[segment(client, content)] += 1
            if number in (count // 10, count // 2, count):
                memory[number] = round(resident_mib(process_id), 1)
    return {"requests": count, "statuses": dict(statuses), "resident_mib": memory}


def segment(client: httpx.Client, content: bytes) -> int:
    """Send one image; return the status."""
    request = json.dumps({"vocabulary": "cat; sofa; wall#stuff"})
    files = {"image": ("image.jpg", content)}
    return client.post("/v1/segment", files=files, data={"request": request}).status_code


def make_image(width: int, height: int) -> bytes:
    """Return a JPEG with colored shapes."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows % 256, columns % 256, (rows > height // 2) * 200], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


def resident_mib(process_id: int) -> float:
    """Return the resident memory of a process (Linux)."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
