"""The garbage collector rests while heavy libraries are imported."""

import gc

import pytest

from ovrcoat.cli.startup import heavy_imports


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
