"""Measure nano: throughput, and the whole process of `ovrcoat segment`."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import peak_memory, repeat
from models import VOCABULARY, load, make_image
from PIL import Image


def throughput(*, size: tuple[int, int], dtype: str, repeats: int) -> dict[str, Any]:
    """Measure seconds per image of `size` (width, height) with cached text embeddings, and peak bytes."""
    segmenter = load("nano", dtype=dtype)
    pixels = make_image(*size)
    segmenter.segment(pixels, VOCABULARY)
    return repeat(lambda: segmenter.segment(pixels, VOCABULARY), repeats) | {"peak": peak_memory()}


def start(*, pairs: int, size: tuple[int, int] = (640, 480)) -> dict[str, float]:
    """Return median seconds of the command, of `import torch` alone, and of their difference (in turns)."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "photo.jpg"
        Image.fromarray(make_image(*size)).save(image)
        segment = [
            sys.executable,
            "-m",
            "ovrcoat",
            "segment",
            str(image),
            "--vocabulary",
            VOCABULARY,
            "--overwrite",
        ]
        segment += ["--output", str(Path(folder) / "out"), "--quiet", "--device", "cpu", "--dtype", "auto"]
        commands = {"segment": segment, "torch": [sys.executable, "-c", "import torch"]}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(pairs + 1):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - began)
    warm = {name: taken[1:] for name, taken in seconds.items()}  # the first turn fills the disk cache
    gaps = [own - bare for own, bare in zip(warm["segment"], warm["torch"], strict=True)]
    return {name: statistics.median(taken) for name, taken in warm.items()} | {"gap": statistics.median(gaps)}
