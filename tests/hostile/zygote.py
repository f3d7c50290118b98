"""A process that has imported the package and forks one child per hostile input, under limits.

Starting Python with torch takes 1.5 seconds, a fork some milliseconds. The tests send one JSON request per
line on stdin (`{"target": "name", "arguments": {...}, "cpu_seconds": 10}`) and read one JSON outcome per line
from stdout. The package is imported as users import it, without the run-time type checks of the test session.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO, Any

import ovrcoat
from ovrcoat.vocabulary import Vocabulary

MEMORY_BYTES = 2 << 30  # above what the libraries take
WALL_SECONDS = 60  # for inputs that wait without computing; a busy machine must not fail a test
FILE_BYTES = 1 << 30  # no hostile input may fill the disk
LIBRARIES = (  # which the package imports where it needs them
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "cyclopts.validators",
    "open_clip",
    "platformdirs",
    "pyarrow.parquet",
    "pycocotools.cocoeval",
    "pydantic.type_adapter",
    "rich.console",
    "rich.table",
    "torch._dynamo",
    "yaml",
)


def serve_requests(requests: IO[str], outcomes: IO[str]) -> None:
    """Answer requests until stdin is closed."""
    modules = pkgutil.walk_packages(ovrcoat.__path__, "ovrcoat.")
    for name in (*LIBRARIES, *(module.name for module in modules if not module.name.endswith("__main__"))):
        importlib.import_module(name)
    Vocabulary.parse("cat; wall#stuff").lint()  # reads the presets
    targets = importlib.import_module("hostile.targets")
    gc.collect()
    gc.freeze()  # else each child's collector walks through the libraries, and copies their memory: 0.3 s
    for line in requests:
        request = json.loads(line)
        target = getattr(targets, request["target"])
        outcomes.write(json.dumps(run_limited(target, request["arguments"], request["cpu_seconds"])) + "\n")
        outcomes.flush()


def run_limited(target: Any, arguments: dict[str, Any], cpu_seconds: int) -> dict[str, Any]:
    """Call a target in a child; returns what happened to it: kind, message, seconds, output, exit status."""
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as output:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_child(output.fileno(), cpu_seconds)
            os.write(report.fileno(), json.dumps(_outcome(target, arguments)).encode())
            os._exit(0)
        status, usage, is_late = _wait(child, start + WALL_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # processes that the child has left behind
            os.killpg(child, signal.SIGKILL)
        report.seek(0)
        output.seek(0)
        text = output.read(100_000).decode("utf-8", "replace")
        outcome: dict[str, Any] = {"kind": "crash", "message": "", "value": None, "output": text}
        if is_late:
            outcome["kind"] = "timeout"
        elif os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            outcome["kind"] = "timeout" if number in (signal.SIGXCPU, signal.SIGKILL) else "crash"
            outcome["message"] = signal.Signals(number).name
        elif content := report.read():
            outcome |= json.loads(content)
        else:
            outcome["message"] = f"exit status {os.waitstatus_to_exitcode(status)} without a report"
        return outcome | {"seconds": usage.ru_utime + usage.ru_stime, "peak_kilobytes": usage.ru_maxrss}


def _wait(child: int, deadline: float) -> tuple[int, Any, bool]:
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage, False
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage, True
        time.sleep(0.002)


def _be_child(output: int, cpu_seconds: int) -> None:
    os.setsid()  # so that its own children can be ended with it
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((0, null), (1, output), (2, output)):
        os.dup2(descriptor, number)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, limit in limits:
        resource.setrlimit(kind, (limit, limit + (kind == resource.RLIMIT_CPU)))  # the signal, then the end


def _outcome(target: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    from ovrcoat.errors import OvrcoatError

    try:
        return {"kind": "ok", "value": target(**arguments)}
    except OvrcoatError as error:
        return {"kind": "refused", "message": str(error)}
    except MemoryError:
        return {"kind": "memory", "message": traceback.format_exc(limit=-5)}
    except BaseException:
        return {"kind": "traceback", "message": traceback.format_exc(limit=-8)}
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    # the channel to the tests, out of reach of whatever a target prints
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve_requests(sys.stdin, channel)
