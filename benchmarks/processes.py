"""Run each measurement in a process of its own, so that measurements do not share memory.

`python benchmarks/processes.py MODULE FUNCTION JSON` calls a function of a module of this folder with keyword
arguments, and prints its return value as JSON on the last line.
"""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class MeasurementError(Exception):
    """A measurement failed."""


def own_process(function: str, **arguments: object) -> Any:
    """Call "module.function" in a new process and return its result.

    Args:
        function: Name of a module of this folder and a function in it.
        arguments: Keyword arguments; values must be valid JSON.

    Raises:
        MeasurementError: The process failed; the message is the last line of its error output.
    """
    module, name = function.split(".")
    output = run_script("processes.py", module, name, json.dumps(arguments))
    return json.loads(output.splitlines()[-1])


def run_script(*command: str) -> str:
    """Run a script of this folder and return its output.

    Raises:
        MeasurementError: The script failed.
    """
    script, *arguments = command
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise MeasurementError(f"{' '.join(command[:3])}: {last}")
    return done.stdout


if __name__ == "__main__":
    _, module, function, arguments = sys.argv
    print(json.dumps(getattr(import_module(module), function)(**json.loads(arguments))))
