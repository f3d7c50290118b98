"""Errors pass between processes: they can be pickled and copied with their attributes."""

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import ovrcoat
from ovrcoat.data.images import read_image
from ovrcoat.errors import ImageError, MissingExtraError, OvrcoatError
from ovrcoat.formats.panoptic_png import PanopticPngError, read_id_map


def all_subclasses(base: type) -> list[type]:
    return [base, *(found for direct in base.__subclasses__() for found in all_subclasses(direct))]


def all_error_classes() -> list[type[OvrcoatError]]:
    """All errors of the package, wherever they are defined."""
    for module in pkgutil.walk_packages(ovrcoat.__path__, "ovrcoat."):
        if ".weights" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return list(dict.fromkeys(all_subclasses(OvrcoatError)))


def sample(error_class: type[OvrcoatError]) -> OvrcoatError:
    """An error with message and attributes, whatever arguments its constructor has."""
    error = error_class.__new__(error_class, "what came; what to do")
    error.__dict__.update(code="a-code", where=("a", 1))
    error.add_note("a note")
    return error


def test_all_errors_survive_pickling_and_copying() -> None:
    classes = all_error_classes()
    assert len(classes) >= 10
    for error_class in classes:
        error = sample(error_class)
        copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)]
        for copied in (*copies, copy.copy(error), copy.deepcopy(error)):
            assert type(copied) is error_class
            assert str(copied) == "what came; what to do"
            assert copied.args == error.args
            assert copied.__dict__ == error.__dict__


def test_an_error_with_a_constructor_of_its_own() -> None:
    error = PanopticPngError("png-damaged", "the file is not a PNG")
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.code, copied.detail) == (str(error), "png-damaged", "the file is not a PNG")


def test_an_import_error() -> None:
    copied = pickle.loads(pickle.dumps(MissingExtraError("install it")))
    assert isinstance(copied, ImportError)
    assert str(copied) == "install it"


@pytest.mark.parametrize(
    ("work", "path", "expected"),
    [(read_image, "gone.jpg", ImageError), (read_id_map, Path("gone.png"), PanopticPngError)],
)
def test_an_error_of_another_process(
    work: Callable[[object], object], path: object, expected: type[OvrcoatError]
) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, pytest.raises(expected) as caught:
        pool.submit(work, path).result(timeout=120)
    assert "check the path" in str(caught.value) or caught.value.code == "png-missing"
