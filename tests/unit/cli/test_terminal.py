import warnings

import pytest

from ovrcoat.cli import terminal
from ovrcoat.cli.terminal import warnings_as_lines


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Messages that reach Python's own display of warnings."""
    messages: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: messages.append(str(message)))
    return messages


def warn(text: str, category: type[Warning] = UserWarning, file: str = terminal.__file__) -> None:
    warnings.warn_explicit(text, category, file, 7)


@pytest.mark.filterwarnings("always")
def test_warnings_of_the_package_are_one_line(capsys: pytest.CaptureFixture[str], others: list[str]):
    before = warnings.showwarning
    with warnings_as_lines(quiet=False):
        warn("no font has x")
        warn("old", DeprecationWarning)
        warn("of another package", file="/lib/other.py")
    assert warnings.showwarning is before
    assert capsys.readouterr() == ("", "warning: no font has x\n")
    assert others == ["old", "of another package"]


@pytest.mark.filterwarnings("always")
def test_quiet_hides_them(capsys: pytest.CaptureFixture[str], others: list[str]):
    with warnings_as_lines(quiet=True):
        warn("no font has x")
    assert capsys.readouterr() == ("", "")
    assert others == []
