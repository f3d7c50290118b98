"""Two arrays, one line: what was recorded against what this package computes."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

TOLERANCE = 2e-5  # of an array's largest magnitude; of probabilities, absolute (fixture README, "Read first")
MEAN_TOLERANCE = 2e-6  # of an array's mean magnitude, for the mean error: it shows a wrong epsilon
# What depends on words gets more: a text runs at its own length here and at 77 tokens there.
MEAN_TOLERANCE_OF_WORDS = 5e-6


@dataclass(frozen=True, slots=True)
class Line:
    """The verdict on one array. Errors are NaN where there is nothing to measure."""

    name: str
    status: str  # "ok", "FAILED", "unknown array", or why it is skipped
    largest: float = float("nan")
    relative: float = float("nan")
    allowed: float = float("nan")
    note: str = ""

    @classmethod
    def skipped(cls, name: str, why: str) -> Self:
        """A line for an array that is not compared."""
        return cls(name, why)

    @classmethod
    def verdict(cls, name: str, passed: bool, *, note: str = "", largest: float = float("nan")) -> Self:
        """A line for what is equal or not."""
        return cls(name, "ok" if passed else "FAILED", largest=largest, note=note)

    def __str__(self) -> str:
        if self.largest != self.largest:  # NaN: nothing was measured
            numbers = ""
        else:
            numbers = f"abs {self.largest:.2e}  rel {self.relative:.2e}  allowed {self.allowed:.2e}"
        return f"{self.name:<70} {numbers:<50} {self.status}{'  ' if self.note else ''}{self.note}"


def compare(name: str, recorded: Tensor, ours: Tensor, *, of_words: bool = False) -> Line:
    """Compare numbers up to the tolerance; booleans and integers exactly."""
    if recorded.shape != ours.shape:
        return Line.verdict(name, False, note=f"shape {tuple(ours.shape)}, recorded {tuple(recorded.shape)}")
    if not recorded.is_floating_point():
        different = int((recorded != ours).sum())
        return Line(
            name, "FAILED" if different else "ok", float(different), different / max(recorded.numel(), 1), 0
        )
    magnitude = float(recorded.abs().max()) if recorded.numel() else 0.0
    mean = float(recorded.double().abs().mean()) if recorded.numel() else 0.0
    mean_allowed = (MEAN_TOLERANCE_OF_WORDS if of_words else MEAN_TOLERANCE) * mean
    return _numbers(name, recorded, ours, allowed=TOLERANCE * magnitude, mean_allowed=mean_allowed)


def compare_probs(name: str, recorded_log_probs: Tensor, ours: Tensor) -> Line:
    """Compare log-probabilities as probabilities: near the floor they are ill-conditioned."""
    return _numbers(name, recorded_log_probs.exp(), ours, allowed=TOLERANCE, mean_allowed=TOLERANCE)


def compare_numbers(name: str, recorded: list[float], ours: list[float]) -> Line:
    """Compare two lists of numbers."""
    return compare(name, torch.tensor(recorded), torch.tensor(ours), of_words=True)


def compare_halves(name: str, recorded: Tensor, ours: Tensor) -> Line:
    """Compare with numbers that were stored as float16: half a step of that type comes on top."""
    recorded = recorded.float()
    magnitude = float(recorded.abs().max())
    allowed = (TOLERANCE + torch.finfo(torch.float16).eps / 2) * magnitude
    return _numbers(name, recorded, ours, allowed=allowed, mean_allowed=allowed)


def _numbers(name: str, recorded: Tensor, ours: Tensor, *, allowed: float, mean_allowed: float) -> Line:
    if recorded.shape != ours.shape:
        return Line.verdict(name, False, note=f"shape {tuple(ours.shape)}, recorded {tuple(recorded.shape)}")
    error = (recorded.double() - ours.double()).abs()
    largest = float(error.max()) if error.numel() else 0.0
    mean = float(error.mean()) if error.numel() else 0.0
    magnitude = float(recorded.abs().max()) if recorded.numel() else 0.0
    passed = largest <= allowed and mean <= mean_allowed  # False for NaN
    note = "" if mean <= mean_allowed else f"mean error {mean:.2e}, allowed {mean_allowed:.2e}"
    relative = largest / magnitude if magnitude else largest
    return Line(name, "ok" if passed else "FAILED", largest, relative, allowed, note)
