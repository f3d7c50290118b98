"""The machine that runs: what it is, how fast its matrix products are, how much memory a process took."""

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
# Rows, inner side and columns of the products: a layer of ConvNeXt's third stage, and a cube.
PRODUCTS = ((4096, 768, 3072), (2048, 2048, 2048))


def describe() -> dict[str, str]:
    """What stands on top of every page of figures."""
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
    """How many operations a second matrix products reach; sampled all through a run.

    Each product is repeated for `seconds`. A neighbour that takes the machine away from us shows in the
    spread of the samples.
    """

    def __init__(self, dtypes: Sequence[str], *, seconds: float) -> None:
        self.samples: dict[str, list[float]] = {dtype: [] for dtype in dtypes}
        self._seconds = seconds

    def sample(self) -> None:
        """Measure each dtype once more."""
        for dtype, samples in self.samples.items():
            samples.append(max(self._rate(DTYPES[dtype], size) for size in PRODUCTS))

    def around(self, work: Callable[[], dict], dtype: str) -> dict:
        """Do some work; its figures get the rate just before and after as "rate"."""
        self.sample()
        figures = work()
        self.sample()
        return figures | {"rate": max(self.samples[dtype][-2:])}

    def spread(self, dtype: str) -> tuple[float, float, float]:
        """Least, median and largest operations per second."""
        samples = self.samples[dtype]
        return min(samples), statistics.median(samples), max(samples)

    def _rate(self, dtype: torch.dtype, size: tuple[int, int, int]) -> float:
        """Two operations per multiply-add over the best time of a product."""
        rows, inner, columns = size
        left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        left @ right  # the first one also builds the kernel
        taken = []
        until = time.perf_counter() + self._seconds
        while not taken or time.perf_counter() < until:
            began = time.perf_counter()
            left @ right
            taken.append(time.perf_counter() - began)
        return 2 * rows * inner * columns / min(taken)


def peak_memory() -> int:
    """Bytes that this process held at most at one time (since `forget_peak`, where the system has that)."""
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Bytes that this process holds now; where the system does not tell, the peak."""
    return _status("VmRSS") if STATUS.exists() else peak_memory()


def file_memory() -> int:
    """Of `resident_memory` what are pages of files (libraries, weights), which the system may drop."""
    return _status("RssFile") if STATUS.exists() else 0


def forget_peak() -> None:
    """Let the peak begin again from here (Linux; elsewhere it stays)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def extra_memory(work: Callable[[], object]) -> int:
    """Bytes that `work` needs at most beyond what is held before it. Its first call tells."""
    _give_back()
    forget_peak()
    before = resident_memory()
    kept = work()
    peak = peak_memory()
    del kept
    return max(0, peak - before)


def repeat(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Best and median seconds of several calls."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return {"best": min(taken), "median": statistics.median(taken)}


def _give_back() -> None:
    """Return freed memory to the system: what `work` took from there would not be seen (glibc)."""
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
