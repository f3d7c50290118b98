"""Fuzz the readers of untrusted input: ./tools/fuzz.py MINUTES [--target NAME]

Usage: pip install atheris && python tools/fuzz.py 15 --target image --output fuzz-output

Each target of tests/fuzzing/targets.py runs for MINUTES in a process of its own. A crash, ten seconds
without a result, 2 GB of memory above the libraries and any exception that is not an OvrcoatError are
findings: the input is stored in the output folder, and the target goes on. The exit status is 1 if there
is any. Atheris measures which lines of the package an input reaches, and keeps inputs that reach new ones.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 10  # seconds for one input
MEMORY = 2048  # MiB above what the process has after its imports
MAX_INPUT = 1 << 16  # bytes
MAX_PER_PLACE = 3  # stored inputs that raise the same exception at the same line


def main() -> int:
    """Run the targets one after another; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float, help="for each target")
    parser.add_argument("--target", action="append", help="name of a target; repeatable. Default: all")
    parser.add_argument("--output", type=Path, default=Path("fuzz-output"), help="folder of failing inputs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fuzz(options.target[0], seconds=options.minutes * 60, output=options.output)
    names = options.target or target_names()
    rows = [run_target(name, options.minutes * 60, options.output) for name in names]
    print(f"{'target':<18}{'minutes':>8}{'inputs':>12}{'accepted':>12}{'findings':>10}")
    for name, seconds, counts, found in rows:
        print(f"{name:<18}{seconds / 60:>8.1f}{counts['inputs']:>12,}{counts['accepted']:>12,}{found:>10}")
    return int(any(row[-1] for row in rows))


def target_names() -> list[str]:
    """Return the names of all targets."""
    sys.path.append(str(ROOT / "tests"))
    from fuzzing.targets import TARGETS

    return list(TARGETS)


def run_target(name: str, seconds: float, output: Path) -> tuple[str, float, dict[str, int], int]:
    """Fuzz one target in child processes: a hang or a crash ends a child, and the next one goes on."""
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    stored = set(folder.iterdir())
    started, totals = time.monotonic(), {"inputs": 0, "accepted": 0}
    while (left := seconds - (time.monotonic() - started)) > 1:
        command = [sys.executable, __file__, str(left / 60), "--child", "--target", name]
        # libFuzzer ends a child without cleaning up, so the parent owns its temporary folder
        with (folder / "log.txt").open("ab") as log, tempfile.TemporaryDirectory() as scratch:
            child = subprocess.run(
                [*command, "--output", str(output)],
                stdout=log,
                stderr=log,
                check=False,
                env={**os.environ, "TMPDIR": scratch},
            )
        counts_path = folder / "counts.json"
        if not counts_path.exists():
            raise SystemExit(f"{name}: the fuzzer did not start; see {folder / 'log.txt'}")
        for key, count in json.loads(counts_path.read_text()).items():
            totals[key] += count
        counts_path.unlink()
        if child.returncode == 0:
            break
    new = {path for path in folder.iterdir() if path not in stored and path.suffix not in (".txt", ".json")}
    return name, time.monotonic() - started, totals, len(new)


def fuzz(name: str, *, seconds: float, output: Path) -> None:
    """Fuzz one target in this process; does not return."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed; run: pip install atheris")
    sys.path.append(str(ROOT / "tests"))
    with atheris.instrument_imports(include=["ovrcoat"]):
        from fuzzing.targets import TARGETS

    target, folder = TARGETS[name], output / name
    recorder = Recorder(folder)
    scratch, reached = Path(tempfile.mkdtemp()), tempfile.mkdtemp()
    target.prepare(scratch)

    def run_one(data: bytes) -> None:
        try:
            accepted = target.run(data, scratch)
        except Exception as error:  # of any kind: that is what is searched for
            recorder.store(data, error)
            accepted = False
        recorder.count(accepted=accepted)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return target.next_input(data, random.Random(seed))[:max_size]

    for seed in target.seeds():  # also loads what is imported late, before memory is measured
        run_one(seed)
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + MEMORY
    options = [f"-timeout={TIMEOUT}", f"-rss_limit_mb={limit}", f"-max_total_time={max(1, int(seconds))}"]
    options += [f"-max_len={MAX_INPUT}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    # libFuzzer stores inputs that reach new lines in the first folder, and only reads the second one
    folders = [reached, str(ROOT / "tests" / "fuzzing" / "corpus" / target.corpus)]
    atheris.Setup([sys.argv[0], *options, *folders], run_one, custom_mutator=mutate)
    atheris.Fuzz()


class Recorder:
    """Counts inputs, and stores those that fail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts = {"inputs": 0, "accepted": 0}
        self._written = 0.0
        self._places: dict[str, int] = {}

    def count(self, *, accepted: bool) -> None:
        """Count an input; the file of counts is written once per second."""
        self._counts["inputs"] += 1
        self._counts["accepted"] += accepted
        if time.monotonic() - self._written > 1:
            self._written = time.monotonic()
            (self._folder / "counts.json").write_text(json.dumps(self._counts))

    def store(self, data: bytes, error: Exception) -> None:
        """Store an input with its traceback, at most `MAX_PER_PLACE` for the same place in the code."""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "ovrcoat" in frame.filename]
        last = frames[-1] if frames else None
        place = (
            f"{type(error).__name__}-{Path(last.filename).stem}-{last.lineno}"
            if last
            else type(error).__name__
        )
        self._places[place] = self._places.get(place, 0) + 1
        if self._places[place] <= MAX_PER_PLACE:
            path = self._folder / f"{place}-{sha256(data).hexdigest()[:8]}"
            path.write_bytes(data)
            path.with_name(f"{path.name}.txt").write_text("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    sys.exit(main())
