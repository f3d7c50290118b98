"""The harness itself: it notices each bad ending, and does not take a good one for a bad one."""

import io
import zipfile
import zlib

import pytest

from hostile import zeros
from hostile.harness import Zygote, run_process


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("misbehave_ok", "ok"),
        ("misbehave_refuse", "refused"),
        ("misbehave_traceback", "traceback"),
        ("misbehave_crash", "crash"),
        ("misbehave_exit", "crash"),
        ("misbehave_allocate", "memory"),
        ("misbehave_fill_disk", "traceback"),
    ],
)
def test_an_ending_is_recognized(zygote: Zygote, target: str, kind: str):
    outcome = zygote.run("misbehave", how=target.removeprefix("misbehave_"))
    assert outcome.kind == kind, outcome


def test_a_bad_ending_fails_a_test(zygote: Zygote):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        zygote.run("misbehave", how="traceback").assert_harmless()
    with pytest.raises(AssertionError, match="line 31"):
        zygote.run("misbehave", how="many_lines").assert_harmless()


def test_an_endless_computation_ends(zygote: Zygote):
    assert zygote.run("misbehave", how="compute", cpu_seconds=1).kind == "timeout"


def test_commands_run_in_a_child_and_in_a_process(zygote: Zygote):
    for outcome in (zygote.command("segment", "none.jpg"), run_process("segment", "none.jpg")):
        assert outcome.assert_refused("none.jpg").value == 1
    assert zygote.command("vocabularies").assert_harmless().value == 0


@pytest.mark.parametrize("size", [0, 1, zeros.BLOCK - 1, 2 * zeros.BLOCK + 7])
def test_compressed_zeros_are_valid(size: int):
    assert zlib.decompress(zeros.zlib_stream(size)) == bytes(size)
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("first", "1")
            zeros.add_member(packed, "zeros", size, before=b"{")
            packed.writestr("last", "2")
        with zipfile.ZipFile(file) as packed:
            assert packed.namelist() == ["first", "zeros", "last"]
            assert packed.read("last") == b"2"
            assert packed.read("zeros") == b"{" + bytes(size)  # compares the checksum, too
