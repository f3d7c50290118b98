"""The tree and the layers in docs/architecture.md are those of the source code."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ovrcoat"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"(?P<indent>(?:[│ ]   )*)[├└]── (?P<names>[\w.]+/?(?:, [\w.]+/?)*)(?:  .*)?")


def block_with(first_line: str, page: str = PAGE) -> list[str]:
    """The lines of the text block of the page that starts with `first_line`."""
    (block,) = re.findall(rf"^```text\n({re.escape(first_line)}\n.*?)^```$", page, flags=re.M | re.S)
    return block.splitlines()


def listed_paths(lines: list[str]) -> list[str]:
    """Paths relative to the root of a drawn tree; packages end in "/"."""
    parents: list[str] = []
    found = []
    for line in lines:
        entry = ENTRY.fullmatch(line)
        assert entry is not None, f"not a line of a tree: {line!r}"
        depth = len(entry["indent"]) // 4
        names = [f"{''.join(parents[:depth])}{name}" for name in entry["names"].split(", ")]
        parents[depth:] = [name.removeprefix("".join(parents[:depth])) for name in names[:1]]
        found += names
    return found


def required_paths() -> set[str]:
    """Every package and every public module at the root, as the page has to list them."""
    packages = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("_")}
    return (packages - {"./"}) | modules


def contract_layers() -> list[str]:
    """The layers of the package as a whole, from the contract in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "ovrcoat.cli" in contract["layers"]
    ]
    return [layer.replace("ovrcoat.", "") for layer in layers]


def test_every_listed_path_exists():
    listed = listed_paths(block_with("src/ovrcoat/")[1:])
    assert len(listed) == len(set(listed))
    missing = [
        path
        for path in listed
        if not ((PACKAGE / path).is_dir() if path.endswith("/") else (PACKAGE / path).is_file())
    ]
    assert missing == []


def test_every_package_and_root_module_is_listed():
    required = required_paths()
    assert len(required) > 15
    assert required - set(listed_paths(block_with("src/ovrcoat/")[1:])) == set()


def test_other_paths_on_the_page_exist():
    """Paths in code spans: below the repository, below the package, or a module's name."""
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    spans = [span for span in re.findall(r"`([\w./-]+)`", prose) if "/" in span or span.endswith(".py")]
    assert len(spans) >= 5
    missing = [
        span
        for span in spans
        if not any(
            (folder / f"{span}{suffix}").exists() for folder in (ROOT, PACKAGE) for suffix in ("", ".py")
        )
        and not list(PACKAGE.rglob(span.rstrip("/")))
    ]
    assert missing == []


def test_the_layers_are_those_of_the_contract():
    assert block_with("cli") == contract_layers()


def test_the_tree_is_read_with_its_levels():
    tree = ["├── a/        first", "│   ├── b.py, c.py", "│   └── d/", "│       └── e.py  last", "└── f.py"]
    assert listed_paths(tree) == ["a/", "a/b.py", "a/c.py", "a/d/", "a/d/e.py", "f.py"]


def test_a_line_that_is_no_entry_fails():
    with pytest.raises(AssertionError, match="not a line of a tree"):
        listed_paths(["|-- a/"])
