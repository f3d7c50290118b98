"""Run by test_verbs.py in a process of its own: disturbs a verb before each of its steps of writing in turn.

Usage: kill_points.py VERB FOLDER. Prints one JSON object: what was done how often, and what was wrong
afterwards.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parent))

from verbs import VERBS, Verb, copy_inputs, use_tiny_models
from write_steps import Act, disk_full_from, input_output_error_at, kill_at, run_disturbed

MAX_STEPS = 400
STRIDE = 5  # of the steps that fail, and of second kills: to save time
REFUSED = ("OutputError: ", "TrainingError: ", "DatasetError: ")  # errors for users


class Examination:
    """What was done with a verb, and what was wrong afterwards.

    Args:
        verb: the verb.
        folder: for its inputs and results.
    """

    def __init__(self, verb: Verb, folder: Path) -> None:
        self.verb, self.inputs, self.work = verb, folder / "inputs", folder / "work"
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        verb.prepare(self.inputs)
        copy_inputs(self.inputs, self.work)
        verb.run(self.work)
        self.expected = verb.results(self.work)

    def kill_at_each_step(self) -> None:
        """Kill the verb, and once more while it continues; then let it end."""
        for at in range(1, MAX_STEPS):
            copy_inputs(self.inputs, self.work)
            if (outcome := self.run(kill_at(at))) != -9:
                self.check(outcome == 0, f"without a kill: {outcome}")
                return
            self.counts["steps"] += 1
            if at % STRIDE == 0:
                again = self.run(kill_at(at // 2 + 1))
                self.check(again in (0, -9), f"after a kill at {at}: {again}")
                self.counts["second kills"] += again == -9
            self.complete(f"killed at {at}")

    def fail_at_steps(self, name: str, fault: Callable[[int], Act]) -> None:
        """Let steps fail; the verb ends with an error for users, and the next start completes."""
        for at in range(1, self.counts["steps"] + 1, STRIDE):
            copy_inputs(self.inputs, self.work)
            outcome = self.run(fault(at))
            if isinstance(outcome, str):
                self.counts[name] += 1
                self.check(outcome.startswith(REFUSED), f"{name} at {at}: {outcome}")
            self.complete(f"{name} at {at}")

    def run(self, act: Act) -> int | str:
        """Run the verb in another process, disturbed."""
        return run_disturbed(partial(self.verb.run, self.work), self.work, act)

    def complete(self, place: str) -> None:
        """Start the verb once more, and compare its results with those of an undisturbed run."""
        self.verb.run(self.work)
        found = self.verb.results(self.work)
        different = [key for key in sorted(found | self.expected) if found.get(key) != self.expected.get(key)]
        self.check(not different, f"{place}: {different}")

    def check(self, is_right: bool, problem: str) -> None:
        """Note a problem."""
        if not is_right:
            self.problems.append(problem)


def main() -> None:
    """Print the outcome."""
    use_tiny_models()
    examination = Examination(VERBS[sys.argv[1]], Path(sys.argv[2]))
    examination.kill_at_each_step()
    examination.fail_at_steps("disk full", disk_full_from)
    examination.fail_at_steps("i/o error", input_output_error_at)
    print(json.dumps({**examination.counts, "problems": examination.problems}))  # noqa: T201


if __name__ == "__main__":
    main()
