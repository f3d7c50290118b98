"""Compare this package with recorded numbers of the released code, array by array.

Usage: python tools/parity.py DIR [DIR ...]

DIR holds `convnext/` and/or `resnet/` (config.json, weights.safetensors, recorded arrays) beside `inputs/`
and `vocabulary.json`. One line is printed per recorded array. "abs" is its largest absolute error, "rel" the
same divided by the array's largest magnitude, "allowed" the largest absolute error that passes. The exit
status is 1 if an array fails or is unknown to this tool.
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

FAMILIES = ("convnext", "resnet")


def check(folder: Path) -> Iterator[Line]:
    """All lines of one folder.

    Raises:
        FileNotFoundError: it holds none of the families.
    """
    present = [family for family in FAMILIES if (folder / family / "config.json").is_file()]
    if not present:
        raise FileNotFoundError(
            f"{folder} holds no {' or '.join(f'{family}/config.json' for family in FAMILIES)}"
        )
    for family in present:
        yield from check_family(load_subject(folder, family))


def check_family(subject: Subject) -> Iterator[Line]:
    """All lines of one network: every .safetensors beside its weights, then the results in JSON."""
    for path in sorted(subject.folder.glob("*.safetensors")):
        if path.stem == "weights":
            continue
        if path.stem == "training":
            yield from check_training(subject)
            continue
        with torch.no_grad():
            yield from (check_results if path.stem == "results" else check_arrays)(subject, path)


def main(arguments: list[str]) -> int:
    """Check every folder; 0 if all is well."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(__doc__)
        return 0 if arguments else 2
    torch.set_num_threads(1)  # the recorded numbers are of one thread
    counts: Counter[str] = Counter()
    for folder in arguments:
        for line in check(Path(folder)):
            print(line)
            counts[line.status] += 1
    failed = counts["FAILED"] + counts["unknown array"]
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    return 1 if failed or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
