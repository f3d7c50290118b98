"""Small files, small functions, telling names."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ovrcoat"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]


IDS = [str(path.relative_to(PACKAGE)) for path in modules()]


def test_the_package_was_found():
    assert len(modules()) > 20


@pytest.mark.parametrize("path", modules(), ids=IDS)
def test_file_is_at_most_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", modules(), ids=IDS)
def test_functions_are_at_most_60_lines(path: Path):
    lengths = {
        function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions(path)
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("path", modules(), ids=IDS)
def test_functions_take_at_most_8_parameters(path: Path):
    crowded = []
    for function in functions(path):
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        if len([argument for argument in arguments if argument.arg not in {"self", "cls"}]) > 8:
            crowded.append(function.name)
    assert crowded == []


def test_no_module_has_a_name_that_says_nothing():
    empty_names = {"utils", "util", "helpers", "helper", "misc", "common", "core"}
    assert [path for path in modules() if {path.stem, path.parent.name} & empty_names] == []


def test_only_the_command_line_prints():
    printing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        if not path.is_relative_to(PACKAGE / "cli")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_annotations_are_no_strings_so_that_shapes_are_checked():
    postponed = [
        path
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert postponed == []


def test_every_module_says_what_it_is():
    assert [path for path in modules() if not ast.get_docstring(parsed(path))] == []
