"""The tests themselves: each asserts something."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def asserts(node: ast.AST) -> bool:
    """Whether `node` holds an assertion, or calls something whose name says that it is one."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func).rsplit(".", 1)[-1]
            if name in {"raises", "warns", "fail"} or "assert" in name or "check" in name:
                return True
    return False


def test_tests_were_found():
    assert len(TESTS) > 10


@pytest.mark.parametrize("path", TESTS, ids=[str(path.relative_to(ROOT)) for path in TESTS])
def test_every_test_asserts(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    own_assertions = {node.name for node in functions if asserts(node)}
    silent = []
    for function in functions:
        calls = {ast.unparse(part.func) for part in ast.walk(function) if isinstance(part, ast.Call)}
        if function.name.startswith("test_") and not asserts(function) and not calls & own_assertions:
            silent.append(function.name)
    assert silent == []
