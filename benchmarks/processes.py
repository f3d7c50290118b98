"""Measure in a process of its own, so that no measurement stands in another one's memory.

`python benchmarks/processes.py MODULE FUNCTION JSON` calls a function of a module of this folder with keyword
arguments and prints what it returns as JSON on the last line.
"""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class MeasurementError(Exception):
    """A measurement did not come to its end."""


def own_process(function: str, **arguments: object) -> Any:
    """What "module.function" returns for `arguments`, all of which JSON can hold.

    Raises:
        MeasurementError: it failed; the message is the end of what it said.
    """
    module, name = function.split(".")
    output = run_script("processes.py", module, name, json.dumps(arguments))
    return json.loads(output.splitlines()[-1])


def run_script(*command: str) -> str:
    """What a script of this folder prints.

    Raises:
        MeasurementError: it failed.
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
