"""Compare the speed of two checkouts on this machine: one image, many images, and the command.

    python benchmarks/compare_versions.py OTHER_CHECKOUT [--rounds 9] [--calls 5] [--images 40]
        [--commands 3] [--size 640 480]

OTHER_CHECKOUT is the top folder of another version of this repository. Both versions run with the packages of
this environment and with their own `src` folder and weights. They are called only through the API that all
versions share: `Segmenter.load("nano")`, `segment`, `segment_many` and `ovrcoat segment`.

Three processes stay open during the whole run: this checkout, the other one, and this checkout a second time.
They are measured in turns, in an order that changes from round to round. Printed are, for each measurement:

  median, min, max  of all calls
  ratio             this checkout / the other: median of one ratio per round (smallest to largest)
  noise             this checkout / itself, measured in the same way

A difference is "within noise" if the ratio is inside the range of the noise.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

THIS = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")  # Linux
VOCABULARY = "cat; sofa; wall#stuff"
THIS_NAME, OTHER_NAME, CONTROL_NAME = "this checkout", "other checkout", "this one again"


@dataclass
class Samples:
    """Seconds of all calls, round by round, of each version."""

    rounds: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, name: str, seconds: list[float]) -> None:
        """Add the calls of one round."""
        self.rounds.setdefault(name, []).append(seconds)

    def calls(self, name: str) -> list[float]:
        """Return the seconds of all calls of a version."""
        return [seconds for calls in self.rounds[name] for seconds in calls]

    def ratios(self, name: str, other: str) -> list[float]:
        """Return one ratio per round, of the medians."""
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return [statistics.median(one) / statistics.median(two) for one, two in pairs]


class VersionError(Exception):
    """A version could not be measured; the message is the end of its error output."""


@dataclass
class Version:
    """A process that runs one checkout, and answers requests until it is closed."""

    name: str
    checkout: Path
    process: subprocess.Popen[str]
    errors: IO[str]

    def request(self, task: str, **arguments: object) -> Any:
        """Run one task in the process and return its result.

        Raises:
            VersionError: The process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            with suppress(BrokenPipeError):  # the input buffer still has unread data
                self.process.stdin.close()
            self.process.wait()
            self.errors.seek(0)
            raise VersionError(f"{self.name} ({self.checkout}): {_last_line(self.errors.read())}")
        return json.loads(line)


@contextmanager
def open_version(name: str, checkout: Path) -> Iterator[Version]:
    """Start the process of a checkout; it is closed at the end of the block."""
    # -P: the folder of this script has modules with common names
    command = [sys.executable, "-P", __file__, "--serve", str(checkout)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment_of(checkout),
        ) as process,
    ):
        yield Version(name, checkout, process, errors)


def environment_of(checkout: Path) -> dict[str, str]:
    """Return the environment in which `import ovrcoat` finds the package of a checkout."""
    return os.environ | {"PYTHONPATH": str(checkout / "src"), "OVRCOAT_CACHE": "none"}


def serve(checkout: Path) -> None:
    """Load the model and answer the requests of the parent process, one JSON object per line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever the package prints does not disturb the protocol
    import ovrcoat
    from ovrcoat import Segmenter

    found = Path(ovrcoat.__file__).resolve()
    if not found.is_relative_to(checkout.resolve()):
        sys.exit(f"imported {found}, which is not in {checkout}")
    segmenter = Segmenter.load("nano", device="cpu")
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(TASKS[request.pop("task")](segmenter, **request)), file=answers, flush=True)


def one_image(segmenter: Any, *, image: str, calls: int) -> list[float]:
    """Return the seconds of each call of `segment`."""
    return [_seconds(lambda: segmenter.segment(image, VOCABULARY)) for _ in range(calls)]


def many_images(segmenter: Any, *, images: list[str]) -> list[float]:
    """Return the seconds of `segment_many` per image."""

    def run() -> None:
        count = sum(1 for _ in segmenter.segment_many(images, VOCABULARY))
        if count != len(images):
            sys.exit(f"segment_many returned {count} results for {len(images)} images")

    return [_seconds(run) / len(images)]


def describe(segmenter: Any, *, image: str) -> dict[str, Any]:
    """Return the version, the peak memory of the process in bytes, and a hash of the id map of an image."""
    import ovrcoat

    id_map = segmenter.segment(image, VOCABULARY).id_map
    return {
        "version": ovrcoat.__version__,
        "peak": peak_memory(),
        "id_map": hashlib.sha256(id_map.tobytes()).hexdigest(),
    }


def peak_memory() -> int:
    """Return the peak memory of this process in bytes (`machine.peak_memory` would import the package)."""
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


TASKS: dict[str, Callable[..., Any]] = {"one": one_image, "many": many_images, "describe": describe}


def time_command(checkout: Path, image: str, folder: Path) -> float:
    """Return the seconds of `ovrcoat segment` on one image, from start to end.

    Raises:
        VersionError: The command failed.
    """
    command = [sys.executable, "-P", "-m", "ovrcoat", "segment", image, "--vocabulary", VOCABULARY]
    command += ["--output", str(folder), "--overwrite", "--quiet", "--device", "cpu"]
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment_of(checkout), cwd=folder.parent
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise VersionError(f"ovrcoat segment of {checkout}: {_last_line(done.stderr)}")
    return seconds


def measure(other: Path, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Samples], list[str]]:
    """Measure all versions in turns.

    Returns:
        The samples of each measurement, and lines about the versions.
    """
    images = make_images(folder, count=options.images, size=tuple(options.size))
    checkouts = {THIS_NAME: THIS, OTHER_NAME: other, CONTROL_NAME: THIS}
    one, many, command = Samples(), Samples(), Samples()
    with ExitStack() as stack:
        versions = [stack.enter_context(open_version(*pair)) for pair in checkouts.items()]
        for version in versions:  # warm-up: text embeddings, kernels, files
            version.request("one", image=images[0], calls=2)
            version.request("many", images=images[:2])
        for number in range(options.rounds):
            for version in rotated(versions, number):
                one.add(version.name, version.request("one", image=images[0], calls=options.calls))
            for version in rotated(versions, number):
                many.add(version.name, version.request("many", images=images))
        facts = {version.name: version.request("describe", image=images[0]) for version in versions}
    for number in range(options.commands):
        for name in rotated(list(checkouts), number):
            command.add(name, [time_command(checkouts[name], images[0], folder / "output")])
    samples = {
        f"one image of {options.size[0]} × {options.size[1]}": one,
        f"many images ({options.images}), per image": many,
    }
    if options.commands:
        samples["ovrcoat segment, whole process"] = command
    return samples, describe_versions(facts, checkouts)


def rotated(items: list[Any], number: int) -> list[Any]:
    """Return the order of a round: each item comes first in turn, and every other round runs backwards."""
    start = number % len(items)
    order = items[start:] + items[:start]
    return order[::-1] if number % 2 else order


def describe_versions(facts: dict[str, dict[str, Any]], checkouts: dict[str, Path]) -> list[str]:
    """Return one line per version, and whether the id maps are equal."""
    lines = [
        f"{name:<16} {found['version']:<12} peak memory {found['peak'] / 1e6:5.0f} MB  {checkouts[name]}"
        for name, found in facts.items()
    ]
    equal = facts[THIS_NAME]["id_map"] == facts[OTHER_NAME]["id_map"]
    return [*lines, f"id maps of both versions: {'equal' if equal else 'DIFFERENT'}"]


def report(title: str, samples: Samples) -> str:
    """Return the figures of one measurement as text."""
    lines = [title, f"  {'':<16} {'median':>9} {'min':>9} {'max':>9}"]
    for name in samples.rounds:
        calls = [1000 * seconds for seconds in samples.calls(name)]
        figures = (statistics.median(calls), min(calls), max(calls))
        lines.append(f"  {name:<16} " + " ".join(f"{figure:>6.1f} ms" for figure in figures))
    ratios = samples.ratios(THIS_NAME, OTHER_NAME)
    noise = samples.ratios(CONTROL_NAME, THIS_NAME)
    ratio = statistics.median(ratios)
    within = (
        min(*noise, *(1 / value for value in noise)) <= ratio <= max(*noise, *(1 / value for value in noise))
    )
    lines.append(
        f"  ratio {_spread(ratios)}, noise {_spread(noise)}: {'within' if within else 'outside'} noise"
    )
    return "\n".join(lines)


def make_images(folder: Path, *, count: int, size: tuple[int, int]) -> list[str]:
    """Write JPEG files of the given size (width, height) and of smaller ones; return their paths."""
    from models import make_image
    from PIL import Image

    paths = []
    for number in range(count):
        width, height = (side * (10 - number % 4) // 10 for side in size)
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray(make_image(width, height)).save(paths[-1], quality=90)
    return paths


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _last_line(text: str) -> str:
    return (text.strip() or "no error output").splitlines()[-1]


def main(arguments: list[str]) -> int:
    """Measure and print; return 1 if a version failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=5, help="calls of `segment` per round and version")
    parser.add_argument(
        "--images", type=int, default=40, help="images of `segment_many` per round and version"
    )
    parser.add_argument("--commands", type=int, default=3, help="rounds of `ovrcoat segment`; 0 for none")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args(arguments)
    if not (options.other / "src" / "ovrcoat" / "__init__.py").is_file():
        parser.error(f"{options.other} is not a checkout: it has no src/ovrcoat/__init__.py")
    with tempfile.TemporaryDirectory() as folder:
        try:
            samples, lines = measure(options.other.resolve(), options, Path(folder))
        except VersionError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print("\n".join(lines))
    for title, found in samples.items():
        print(f"\n{report(title, found)}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
