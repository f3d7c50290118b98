"""The garbage collector rests while heavy libraries are imported."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.cli.startup import heavy_imports
from ovrcoat.errors import ConfigError


def test_the_collector_rests_and_comes_back():
    assert gc.isenabled()
    with heavy_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.unfreeze()


def test_it_comes_back_after_an_error():
    with pytest.raises(ImportError), heavy_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_caller_who_switched_it_off_keeps_it_off():
    gc.disable()
    try:
        with heavy_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_for_a_library_is_one_line(error: Exception):
    message = r"the libraries cannot be loaded .*: not enough memory; allow"
    with pytest.raises(ConfigError, match=message), heavy_imports():
        raise error
    assert gc.isenabled()


@pytest.mark.parametrize("kept", [0.5, 0.001], ids=["truncated pixels", "no image"])
def test_a_single_damaged_image_is_reported_before_torch_is_imported(tmp_path: Path, kept: float) -> None:
    image = tmp_path / "damaged.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(image)
    image.write_bytes(image.read_bytes()[: int(kept * image.stat().st_size)])
    script = (
        "import sys; from ovrcoat.cli import main; "
        f"status = main(['segment', {str(image)!r}, '--output', {str(tmp_path / 'out')!r}]); "
        "print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
    assert "damaged.png" in done.stderr
    assert not (tmp_path / "out").exists()
