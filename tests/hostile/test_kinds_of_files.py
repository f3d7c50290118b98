"""Every reader × everything that can lie at a path instead of a file with valid content."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile.harness import Zygote
from hostile.scenes import SCENES


def sparse(path: Path) -> None:
    path.write_bytes(b"{")
    os.truncate(path, 5 << 40)


def in_folder(path: Path, create: Callable[[], None]) -> None:
    """Create what needs a short path."""
    previous = Path.cwd()
    os.chdir(path.parent)
    try:
        create()
    finally:
        os.chdir(previous)


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        in_folder(path, lambda: listener.bind(path.name))


KINDS: dict[str, Callable[[Path, bytes], object]] = {
    "missing": lambda path, valid: None,
    "pipe": lambda path, valid: os.mkfifo(path),
    "folder": lambda path, valid: path.mkdir(),
    "socket": lambda path, valid: bind_socket(path),
    "endless device": lambda path, valid: path.symlink_to("/dev/zero"),
    "circle of links": lambda path, valid: path.symlink_to(path.name),
    "dangling link": lambda path, valid: path.symlink_to("nowhere"),
    "file of 5 TB": lambda path, valid: sparse(path),
    "empty": lambda path, valid: path.write_bytes(b""),
    "only zeros": lambda path, valid: path.write_bytes(bytes(100_000)),
    "not text": lambda path, valid: path.write_bytes(bytes(range(255, 0, -1)) * 40),
    "cut off": lambda path, valid: path.write_bytes(valid[: len(valid) // 2]),
    "with zeros inside": lambda path, valid: path.write_bytes(valid[:90] + bytes(9) + valid[90:]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scene", SCENES)
def test_kind_of_file(scene: str, kind: str, tmp_path: Path, zygote: Zygote):
    SCENES[scene].build(tmp_path)
    victim = tmp_path / SCENES[scene].victim
    valid = victim.read_bytes()
    victim.unlink()
    KINDS[kind](victim, valid)
    SCENES[scene].run(zygote, victim).assert_harmless()
    if kind == "folder":
        shutil.rmtree(victim, ignore_errors=True)


@pytest.mark.parametrize("scene", SCENES)
def test_the_valid_file_is_not_refused_as_a_kind_of_file(scene: str, tmp_path: Path, zygote: Zygote):
    SCENES[scene].build(tmp_path)
    outcome = SCENES[scene].run(zygote, tmp_path / SCENES[scene].victim).assert_harmless()
    assert "not a file" not in outcome.message
