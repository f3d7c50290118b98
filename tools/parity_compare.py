"""Compare one recorded array with the array that this package computes, and report one line about it."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Source of the tolerances: tests/parity/reference/README.md, "Tolerances".
TOLERANCE = 2e-5  # largest error, relative to the array's largest magnitude; absolute for probabilities
# Mean error, relative to the array's mean magnitude: a wrong LayerNorm epsilon exceeds it.
MEAN_TOLERANCE = 2e-6
# Arrays that depend on text get more: this package runs the text tower without padding, the released code
# pads every prompt to 77 tokens.
TEXT_MEAN_TOLERANCE = 5e-6
# Recordings of MAFT+ name 1e-4 of the largest magnitude as tolerance of every array. The largest error may be
# as large as for other recordings, the mean error larger: a batch of unequal images rounds differently.
TRANSFER_MEAN_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Line:
    """The result for one array; errors are NaN where nothing was measured.

    Attributes:
        name: Family and name of the recorded array.
        status: "ok", "FAILED", "unknown array", or the reason why the array is not compared.
        largest: Largest absolute error.
        relative: `largest` divided by the largest magnitude of the recorded array.
        allowed: Largest absolute error that passes.
        note: More about the result, printed at the end of the line.
    """

    name: str
    status: str
    largest: float = float("nan")
    relative: float = float("nan")
    allowed: float = float("nan")
    note: str = ""

    @classmethod
    def skipped(cls, name: str, reason: str) -> Self:
        """Return a line for an array that is not compared."""
        return cls(name, reason)

    @classmethod
    def verdict(cls, name: str, passed: bool, *, note: str = "") -> Self:
        """Return a line for a comparison that has no error to measure."""
        return cls(name, "ok" if passed else "FAILED", note=note)

    @classmethod
    def shapes_differ(cls, name: str, recorded: Tensor, ours: Tensor) -> Self:
        """Return a failed line that names both shapes."""
        return cls(name, "FAILED", note=f"shape {tuple(ours.shape)}, recorded shape {tuple(recorded.shape)}")

    def __str__(self) -> str:
        if self.largest != self.largest:  # NaN: nothing was measured
            numbers = ""
        else:
            numbers = f"abs {self.largest:.2e}  rel {self.relative:.2e}  allowed {self.allowed:.2e}"
        return f"{self.name:<70} {numbers:<50} {self.status}{'  ' if self.note else ''}{self.note}"


def compare(name: str, recorded: Tensor, ours: Tensor, *, mean_tolerance: float = MEAN_TOLERANCE) -> Line:
    """Compare floating-point arrays up to the tolerances, and boolean or integer arrays exactly.

    Args:
        name: Name of the array, for the report.
        recorded: The recorded array.
        ours: The array that this package computes.
        mean_tolerance: Largest mean error, relative to the array's mean magnitude.
    """
    if recorded.shape != ours.shape:
        return Line.shapes_differ(name, recorded, ours)
    if not recorded.is_floating_point():
        different = int((recorded != ours).sum())
        status = "FAILED" if different else "ok"
        return Line(name, status, float(different), different / max(recorded.numel(), 1), 0)
    mean = float(recorded.double().abs().mean()) if recorded.numel() else 0.0
    allowed = TOLERANCE * _magnitude(recorded)
    return _compare_errors(name, recorded, ours, allowed=allowed, mean_allowed=mean_tolerance * mean)


def compare_relative(name: str, recorded: Tensor, ours: Tensor, *, tolerance: float, note: str = "") -> Line:
    """Compare the largest error only; it may be `tolerance` times the largest magnitude."""
    allowed = tolerance * _magnitude(recorded)
    return _compare_errors(name, recorded, ours, allowed=allowed, mean_allowed=float("inf"), note=note)


def compare_probs(name: str, recorded_log_probs: Tensor, ours: Tensor) -> Line:
    """Compare recorded log-probabilities with probabilities.

    Logarithms near their floor, log(1e-8), are ill-conditioned; therefore both sides are compared as
    probabilities.
    """
    return _compare_errors(name, recorded_log_probs.exp(), ours, allowed=TOLERANCE, mean_allowed=TOLERANCE)


def compare_numbers(name: str, recorded: list[float], ours: list[float]) -> Line:
    """Compare two lists of numbers that depend on text."""
    return compare(name, torch.tensor(recorded), torch.tensor(ours), mean_tolerance=TEXT_MEAN_TOLERANCE)


def compare_halves(name: str, recorded: Tensor, ours: Tensor) -> Line:
    """Compare with an array that was stored as float16; half a float16 step is added to the tolerance."""
    recorded = recorded.float()
    allowed = (TOLERANCE + torch.finfo(torch.float16).eps / 2) * _magnitude(recorded)
    return _compare_errors(name, recorded, ours, allowed=allowed, mean_allowed=allowed)


def compare_number(
    name: str, recorded: float, ours: float, *, rtol: float, atol: float, note: str = ""
) -> Line:
    """Compare two numbers; the error may be `atol + rtol * abs(recorded)`."""
    allowed = atol + rtol * abs(recorded)
    error = abs(ours - recorded)
    status = "ok" if error <= allowed else "FAILED"  # NaN fails
    return Line(name, status, error, error / max(abs(recorded), 1e-12), allowed, note)


def _compare_errors(
    name: str, recorded: Tensor, ours: Tensor, *, allowed: float, mean_allowed: float, note: str = ""
) -> Line:
    if recorded.shape != ours.shape:
        return Line.shapes_differ(name, recorded, ours)
    error = (recorded.double() - ours.double()).abs()
    largest = float(error.max()) if error.numel() else 0.0
    mean = float(error.mean()) if error.numel() else 0.0
    magnitude = _magnitude(recorded)
    passed = largest <= allowed and mean <= mean_allowed  # NaN fails
    if not mean <= mean_allowed:
        note = f"mean error {mean:.2e}, allowed {mean_allowed:.2e}"
    relative = largest / magnitude if magnitude else largest
    return Line(name, "ok" if passed else "FAILED", largest, relative, allowed, note)


def _magnitude(array: Tensor) -> float:
    """Return the largest absolute value, or 0 for an empty array."""
    return float(array.abs().max()) if array.numel() else 0.0
