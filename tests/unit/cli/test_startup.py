"""The garbage collector rests while heavy libraries are imported."""

import gc

import pytest

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
