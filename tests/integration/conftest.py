"""The command line, run in this process on a tiny network: quick enough to try every kind of bad input."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.cli import main
from ovrcoat.segmentation.segmenter import Segmenter


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command gave back."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def ovrcoat(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `ovrcoat ARGUMENTS...`."""

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter) -> Segmenter:
    """Let every model be the tiny network; its masks are random, so none is dropped for losing its pixels."""
    monkeypatch.setattr(Segmenter, "load", lambda model, **options: tiny_segmenter)
    return tiny_segmenter


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_pixels: np.ndarray) -> Path:
    """The current folder, with photo.jpg in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image_pixels).save(tmp_path / "photo.jpg")
    return tmp_path
