"""Paths as users give them: nothing raises, whatever the path is."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.system.paths import (
    access_problem,
    exists,
    expand_user,
    is_file,
    is_folder,
    printable,
    resolve,
    shorten_name,
)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path / "loop"


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    assert expand_user("~/a.jpg") == Path("/me/a.jpg")
    assert expand_user("a~.jpg") == Path("a~.jpg")


@pytest.mark.parametrize("path", ["~photo.jpg", "~nobody-of-this-name/a", "~\0", "~" + "a" * 5000])
def test_an_unknown_user_leaves_the_path_unchanged(path: str) -> None:
    assert expand_user(path) == Path(path)


def test_no_home_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os.path, "expanduser", lambda path: path
    )  # what it does without HOME and passwd entry
    assert expand_user("~/a.jpg") == Path("~/a.jpg")


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b", "nowhere/a"])
def test_paths_without_a_file(path: str) -> None:
    assert not any(found(path) for found in (exists, is_file, is_folder))
    assert resolve(Path(path)).name == Path(path).name


def test_links_in_a_circle(loop: Path) -> None:
    assert not any(found(loop) for found in (exists, is_file, is_folder))
    assert resolve(loop) == loop
    assert access_problem(loop) == os.strerror(40)


def test_access_problems(tmp_path: Path) -> None:
    assert access_problem(tmp_path) is None
    assert access_problem(tmp_path / "gone") is None
    assert access_problem("a" * 5000) == "File name too long"
    assert "null" in (access_problem("a\0b") or "")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("Müller/日本.jpg", "Müller/日本.jpg"),
        ("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"),
        ("x" * 300, "x" * 120 + "…" + "x" * 39),
        (Path("a b.jpg"), "a b.jpg"),
    ],
)
def test_paths_in_messages(path: object, shown: str) -> None:
    assert printable(path) == shown


def test_short_names_are_kept() -> None:
    assert shorten_name("a" * 235, reserved=20) == "a" * 235


@given(st.text(min_size=1, max_size=400), st.integers(0, 40))
def test_shortened_names_fit(stem: str, reserved: int) -> None:
    shortened = shorten_name(stem, reserved=reserved)
    assert len(shortened.encode("utf-8", "surrogatepass")) <= 255 - reserved
    assert shortened == stem or shortened[:-9] == stem[: len(shortened) - 9]


def test_long_names_with_a_common_beginning_stay_different() -> None:
    names = {shorten_name("é" * 200 + ending, reserved=20) for ending in ("a", "b", "c")}
    assert len(names) == 3
