"""Describe the machine, and measure its matrix-product rate and the memory of a process."""

import contextlib
import ctypes
import gc
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import ovrcoat
from ovrcoat.system.devices import has_bfloat16

STATUS = Path("/proc/self/status")  # Linux
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Rows, inner dimension and columns of the products: a layer of ConvNeXt's third stage, and a cube.
PRODUCTS = ((4096, 768, 3072), (2048, 2048, 2048))


def describe() -> dict[str, str]:
    """Return the facts at the top of every benchmark page."""
    return {
        "processor": _processor(),
        "cores of this process": str(_cores()),
        "threads": str(torch.get_num_threads()),
        "bfloat16": _bfloat16(),
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "ovrcoat": f"{ovrcoat.__version__}, commit {_commit()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


class MatrixRate:
    """Operations per second of matrix products, sampled during the whole run.

    Each product is repeated for `seconds`. Other processes on the machine show as a wide spread of the
    samples.
    """

    def __init__(self, dtypes: Sequence[str], *, seconds: float) -> None:
        self.samples: dict[str, list[float]] = {dtype: [] for dtype in dtypes}
        self._seconds = seconds

    def sample(self) -> None:
        """Add one sample per dtype."""
        for dtype, samples in self.samples.items():
            samples.append(max(self._rate(DTYPES[dtype], size) for size in PRODUCTS))

    def around(self, work: Callable[[], dict], dtype: str) -> dict:
        """Run `work`; add the larger rate of just before and just after to its figures, as "rate"."""
        self.sample()
        figures = work()
        self.sample()
        return figures | {"rate": max(self.samples[dtype][-2:])}

    def spread(self, dtype: str) -> tuple[float, float, float]:
        """Return minimum, median and maximum of the operations per second."""
        samples = self.samples[dtype]
        return min(samples), statistics.median(samples), max(samples)

    def _rate(self, dtype: torch.dtype, size: tuple[int, int, int]) -> float:
        """Return the operations per second in the best time; a multiply-add counts as two."""
        rows, inner, columns = size
        left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        left @ right  # the first product also builds the kernel
        taken = []
        until = time.perf_counter() + self._seconds
        while not taken or time.perf_counter() < until:
            began = time.perf_counter()
            left @ right
            taken.append(time.perf_counter() - began)
        return 2 * rows * inner * columns / min(taken)


def peak_memory() -> int:
    """Return the peak memory of this process in bytes (on Linux since the last `forget_peak`)."""
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; outside Linux, the peak."""
    return _status("VmRSS") if STATUS.exists() else peak_memory()


def file_memory() -> int:
    """Return the file-backed part of `resident_memory` (libraries, weights), which the system may drop."""
    return _status("RssFile") if STATUS.exists() else 0


def forget_peak() -> None:
    """Reset the peak memory (Linux only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def extra_memory(work: Callable[[], object]) -> int:
    """Return the largest number of bytes that the first call of `work` adds."""
    _give_back()
    forget_peak()
    before = resident_memory()
    kept = work()
    peak = peak_memory()
    del kept
    return max(0, peak - before)


def repeat(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return best and median seconds of several calls."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return {"best": min(taken), "median": statistics.median(taken)}


def _give_back() -> None:
    """Return freed memory to the system (glibc): memory that `work` reuses would not be measured."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bfloat16() -> str:
    return "native" if has_bfloat16(torch.device("cpu")) else "emulated"


def _commit() -> str:
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    with contextlib.suppress(OSError):
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    return "unknown"
