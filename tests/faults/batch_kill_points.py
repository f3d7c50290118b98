"""Run by test_batch.py in a process of its own: kills the local engine before each of its writes in turn.

Prints one JSON object: the number of places where a run was killed, and what was wrong afterwards.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pyarrow.parquet as pq

from ovrcoat.batch import destination as module
from ovrcoat.batch.destination import Destination
from ovrcoat.batch.item import Item
from ovrcoat.batch.local import Parts, run_local
from ovrcoat.batch.rows import Quarantined
from ovrcoat.batch.settings import BatchSettings
from ovrcoat.system.shard import Shard
from ovrcoat.vocabulary import Vocabulary

ITEMS = [Item(str(number), f"/{number}") for number in range(11)]
FACTS = {"engine": "local"}


class Predictor:
    """In place of a model; every fourth image cannot be read."""

    def predict(self, items):
        readable = [item for item in items if int(item.id) % 4]
        rows = [
            {"id": item.id, "path": item.path, "width": 1, "height": 1, "segments": []} for item in readable
        ]
        return rows, [Quarantined(item.id, item.path, "x") for item in items if item not in readable]


def run(folder: Path) -> None:
    destination = Destination(folder)
    destination.open(FACTS, ITEMS, resume=True)
    run_local(
        Parts(ITEMS, 3),
        destination,
        settings=BatchSettings(vocabulary=Vocabulary.parse("cat")),
        predictor=Predictor(),  # type: ignore[arg-type]
        shard=Shard(),
        workers=1,
        on_part=lambda images: None,
    )


def run_killed(folder: Path, *, at: int) -> bool:
    """Run in a child process that ends by SIGKILL at its `at`-th step of writing; return whether it did."""
    child = os.fork()
    if child == 0:
        steps = 0

        def count(original):
            def counted(*arguments, **options):
                nonlocal steps
                steps += 1
                if steps == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

            return counted

        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
            setattr(owner, name, count(getattr(owner, name)))
        module.write_atomically = count(module.write_atomically)
        run(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def problems(folder: Path) -> list[str]:
    """Count every image independently of the code under test."""
    ids = {
        name: [
            row["id"] for path in (folder / name).glob("*.parquet") for row in pq.read_table(path).to_pylist()
        ]
        for name in ("images", "quarantine")
    }
    found = []
    if sorted(ids["images"] + ids["quarantine"]) != sorted(item.id for item in ITEMS):
        found.append(f"{folder.name}: {ids}")
    if any(int(id) % 4 for id in ids["quarantine"]):
        found.append(f"{folder.name}: readable images in quarantine")
    return found


def main() -> None:
    root = Path(sys.argv[1])
    kills, found = 0, []
    for at in range(1, 200):
        folder = root / str(at)
        if not run_killed(folder, at=at):
            break
        kills += 1
        kills += run_killed(folder, at=at // 2 + 1)  # and again while it resumes
        run(folder)
        found += problems(folder)
    print(json.dumps({"kills": kills, "problems": found}))  # noqa: T201


if __name__ == "__main__":
    main()
