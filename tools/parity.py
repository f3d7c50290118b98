"""Compare this package with numbers recorded from the released code, array by array.

Usage: python tools/parity.py DIR [DIR ...]

Every DIR contains one or more of the folders `convnext/`, `resnet/` and `maftplus/` (config.json,
weights.safetensors and recorded arrays), and `inputs/` and `vocabulary.json` next to them or in `maftplus/`.
`tests/parity/reference` is such a folder; its README describes the format.

Runs with images of different sizes in one batch are skipped, because the package never makes such batches.
For `maftplus/` they are compared, to check that the transfer of text embeddings does not mix images.

The tool prints one line per recorded array or number:

  abs      largest absolute error
  rel      abs, divided by the largest magnitude of the recorded array
  allowed  largest absolute error that passes

The numbers of a training step include gradient norms. They pass with a relative error of up to 1e-3. One mode
has a tolerance of its own: gradient norms of a ResNet whose BatchNorm layers use the statistics of the batch
("live BatchNorm" at the end of the line) pass with up to 5e-2. The released code trains in this mode, this
package never does. Batch statistics amplify rounding errors in both passes.

Training images of one batch may have different sizes. They are padded to the largest height and width,
rounded up to a multiple of 32.

The exit status is 1 if an array fails or is unknown to this tool, and 2 if no DIR is given.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from parity_arrays import check_arrays
from parity_compare import Line
from parity_network import Subject, load_subject
from parity_results import check_results
from parity_training import check_training

FAMILIES = ("convnext", "resnet", "maftplus")


def check(folder: Path) -> Iterator[Line]:
    """Yield all lines of one folder.

    Raises:
        FileNotFoundError: The folder contains no recorded network.
    """
    present = [family for family in FAMILIES if (folder / family / "config.json").is_file()]
    if not present:
        expected = " or ".join(f"{family}/config.json" for family in FAMILIES)
        raise FileNotFoundError(f"{folder} contains no {expected}")
    for family in present:
        yield from check_family(load_subject(folder, family))


def check_family(subject: Subject) -> Iterator[Line]:
    """Yield all lines of one network, file by file."""
    for path in sorted(subject.folder.glob("*.safetensors")):
        if path.stem == "weights":
            continue
        if path.stem == "training":
            yield from check_training(subject)
            continue
        with torch.no_grad():
            yield from (check_results if path.stem == "results" else check_arrays)(subject, path)


def main(arguments: list[str]) -> int:
    """Check every folder and return the exit status."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(__doc__)
        return 0 if arguments else 2
    torch.set_num_threads(1)  # the numbers were recorded with one thread
    counts: Counter[str] = Counter()
    for folder in arguments:
        try:
            for line in check(Path(folder)):
                print(line)
                counts[line.status] += 1
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    failed = counts["FAILED"] + counts["unknown array"]
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    return 1 if failed or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
