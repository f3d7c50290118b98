"""Runs hostile inputs in limited child processes, and checks how they end.

An input may be accepted or refused with a message. It must never end in a traceback, a crash, more than ten
seconds of computing, more than 2 GB above the libraries, or a message without end.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CPU_SECONDS, WALL_SECONDS = 10, 60
PROCESS_BYTES = 24 << 30  # address space of a whole process with torch, most of it only reserved
MAX_MESSAGE = 4_000  # characters
MAX_LINES = 30  # most errors have one; checks of labels and configurations list what is wrong


@dataclass(frozen=True)
class Outcome:
    """How a hostile input ended.

    Attributes:
        kind: "ok", "refused" (an `OvrcoatError`), "traceback", "memory", "timeout" or "crash".
        message: of the error, the traceback, or the name of the signal.
        value: what the target returned; the exit status for a command.
        output: stdout and stderr together.
        seconds: processor time.
    """

    kind: str
    message: str
    value: Any
    output: str
    seconds: float

    def assert_harmless(self) -> "Outcome":
        """Check that the input was accepted, or refused with a message; returns itself."""
        assert self.kind in ("ok", "refused"), f"{self.kind}: {self.message}\n{self.output[-3000:]}"
        assert "Traceback (most recent call last)" not in self.output, self.output[-3000:]
        assert self.message.count("\n") < MAX_LINES, self.message
        assert len(self.message) <= MAX_MESSAGE, self.message[:MAX_MESSAGE]
        assert self.seconds <= CPU_SECONDS
        return self

    def assert_refused(self, *parts: str) -> "Outcome":
        """Check that the input was refused with a message that contains `parts`; returns itself."""
        self.assert_harmless()
        assert self.kind == "refused", f"accepted: {self.value}"
        for part in parts:
            assert part in self.message, self.message
        return self


class Zygote:
    """The process that forks one child per input; it is started by the first input."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, target: str, /, *, cpu_seconds: int = CPU_SECONDS, **arguments: Any) -> Outcome:
        """Call a function of `targets.py` in a limited child.

        Args:
            target: name of the function.
            cpu_seconds: limit of processor time.
            **arguments: its arguments; paths are passed as strings.
        """
        process = self._started()
        request = {"target": target, "arguments": arguments, "cpu_seconds": cpu_seconds}
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(request, default=str) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        return Outcome(*(answer[name] for name in ("kind", "message", "value", "output", "seconds")))

    def command(self, *arguments: object) -> Outcome:
        """Run the command line in a limited child; `value` is the exit status."""
        return command_outcome(self.run("command", arguments=[str(argument) for argument in arguments]))

    def close(self) -> None:
        """End the process."""
        if self._process and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(timeout=60)
            self._process.stdout.close()

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "hostile" / "zygote.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
        return self._process


def run_process(*arguments: object, variables: dict[str, str] | None = None, **options: Any) -> Outcome:
    """Run `python -m ovrcoat` as a process of its own, for what depends on its start or its end.

    Args:
        *arguments: of the command line.
        variables: further environment variables.
        **options: of `subprocess.Popen`, for example `stdin`.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ovrcoat", *(str(argument) for argument in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=WALL_SECONDS,
            env=environment() | (variables or {}),
            check=False,
            preexec_fn=_limit_process,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        return Outcome("timeout", str(error), None, str(error.output), float(WALL_SECONDS))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    output = done.stdout.decode("utf-8", "replace")
    kind = "crash" if done.returncode < 0 else "ok"
    return command_outcome(Outcome(kind, "", done.returncode, output, seconds))


def command_outcome(outcome: Outcome) -> Outcome:
    """Turn a failure of the command line (exit status 1 or 2 and errors) into an outcome "refused"."""
    if outcome.kind != "ok" or outcome.value not in (1, 2):
        return outcome
    start = "error: "
    errors = [line.removeprefix(start) for line in outcome.output.splitlines() if line.startswith(start)]
    if outcome.value == 1 and not errors:  # for example issues of check-data
        return outcome
    assert errors, f"exit status 2 without an error: {outcome.output}"
    message = "\n".join(errors)
    return Outcome("refused", message, outcome.value, outcome.output, outcome.seconds)


def environment() -> dict[str, str]:
    """Return the environment of the tests with the package and the tests on Python's path."""
    paths = (str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS + 5, CPU_SECONDS + 5))  # 1.5 to 3 s import torch
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, PROCESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
