import io
import sys

import pytest

from ovrcoat.training.progress import StageProgress, format_duration


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run(steps: int, *, seconds_per_step: float, first_step: int = 0, enabled: bool = True) -> float:
    """Return the seconds on the clock after the last step."""
    clock = Clock()
    with StageProgress("masks", first_step=first_step, steps=steps, enabled=enabled, clock=clock) as progress:
        for step in range(first_step, steps):
            clock.seconds += seconds_per_step
            progress.update(step + 1, loss=2.5, terms={"mask": 2.5})
    return clock.seconds


def test_a_line_every_half_a_minute_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    run(10, seconds_per_step=12)
    assert capsys.readouterr().err.splitlines() == [
        "masks: step 3 of 10, loss 2.5, 1 min left",
        "masks: step 6 of 10, loss 2.5, 48 s left",
        "masks: step 9 of 10, loss 2.5, 12 s left",
    ]


def test_time_left_counts_only_the_steps_of_this_run(capsys: pytest.CaptureFixture[str]):
    run(1000, first_step=997, seconds_per_step=40)
    assert capsys.readouterr().err.splitlines()[0] == "masks: step 998 of 1000, loss 2.5, 1 min left"


def test_a_fast_or_quiet_run_prints_nothing(capsys: pytest.CaptureFixture[str]):
    run(10, seconds_per_step=1)
    run(10, seconds_per_step=100, enabled=False)
    assert capsys.readouterr().err == ""


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [None, Full()])
def test_a_lost_stream_does_not_stop_the_training(monkeypatch: pytest.MonkeyPatch, stream: object):
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(3, seconds_per_step=40) == 120


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(3, seconds_per_step=40)
    shown = terminal.getvalue()
    assert "3/3" in shown
    assert "left" not in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.0, "59 s"), (61.0, "1 min"), (3599.0, "1 h 00 min"), (11_100.0, "3 h 05 min")],
)
def test_durations(seconds: float, text: str):
    assert format_duration(seconds) == text
