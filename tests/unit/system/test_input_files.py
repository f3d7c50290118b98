import copy
import os
import pickle
from pathlib import Path

import pytest

from ovrcoat.errors import ConfigError
from ovrcoat.system.input_files import (
    InputFileError,
    SizeLimit,
    check_input,
    open_input,
    read_input,
    read_input_text,
)

TINY = SizeLimit(3, "OVRCOAT_MAX_TINY", unit=1)


def test_a_regular_file_is_read(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf")
    assert check_input(path, TINY) == 3
    assert read_input(str(path), TINY) == b"\xef\xbb\xbf"
    assert read_input_text(path, TINY) == ""
    with open_input(path, TINY) as file:
        assert file.read() == b"\xef\xbb\xbf"


@pytest.mark.parametrize("function", [check_input, open_input, read_input])
def test_everything_else_is_refused(function, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("link")
    (tmp_path / "large").write_bytes(b"1234")
    reasons = {
        "pipe": "this is a pipe, not a file; save its data",
        "": "this is a folder",
        "large": "it has 4 bytes, expected at most 3; .*OVRCOAT_MAX_TINY",
        "a\0b": "no file can have this name",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputFileError, match=reason):
            function(tmp_path / name, TINY)
    with pytest.raises(InputFileError, match="this is a device"):
        function("/dev/zero", TINY)
    with pytest.raises(FileNotFoundError):
        function(tmp_path / "missing", TINY)
    with pytest.raises(OSError, match="symbolic links"):
        function(tmp_path / "link", TINY)
    with pytest.raises(OSError, match="too long"):
        function(tmp_path / ("a" * 300), TINY)


def test_files_of_unknown_size_are_limited():
    with pytest.raises(InputFileError, match="expected at most 3"):
        read_input("/proc/self/status", TINY)  # its size is reported as 0
    assert b"Name" in read_input("/proc/self/status", SizeLimit(1, "OVRCOAT_MAX_TINY"))


def test_the_environment_raises_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    monkeypatch.setenv("OVRCOAT_MAX_TINY", "5")
    assert read_input(path, TINY) == b"12345"
    for wrong in ("0", "-1", "many", "1.5", "9" * 30):
        monkeypatch.setenv("OVRCOAT_MAX_TINY", wrong)
        with pytest.raises(ConfigError, match=r"OVRCOAT_MAX_TINY is .*, expected a whole number of MiB"):
            read_input(path, TINY)


def test_an_error_can_be_copied_and_pickled():
    error = InputFileError("this is a pipe")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(other) == other.strerror == "this is a pipe"
