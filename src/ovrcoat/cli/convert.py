"""`ovrcoat convert`: convert published weights to a checkpoint of this package."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ovrcoat.choices import Arrangement
from ovrcoat.cli.terminal import print_json, print_line, print_note
from ovrcoat.system.atomic_write import make_folder, remove_leftovers
from ovrcoat.system.folder_lock import FolderLock

NAMES_SHOWN = 3  # of a long list; --json prints all of them


def convert(
    source: Path,
    target: Path,
    /,
    *,
    clip: Path | None = None,
    arrangement: Arrangement | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Convert a published FC-CLIP, OVRCOAT or MAFT+ file to one that `segment --model` accepts.

    Parameters
    ----------
    source
        The published file (.pth). It is read without executing any code in it.
    target
        The file to write (.safetensors).
    clip
        A file with OpenCLIP weights, for weights that are missing in the published file. By default, missing
        weights are downloaded.
    arrangement
        Whether a MAFT+ file has panoptic or semantic weights. By default, the number of training categories
        in the file decides.
    json
        Print one JSON document with the names of all weights that were dropped or filled in.
    """
    from ovrcoat.checkpoints import foreign

    print_note(f"Reading {source}; this takes a while ...")
    with FolderLock(make_folder(target.parent), prefix=f".{target.name}"):
        remove_leftovers(target.parent, name=target.name)
        report = foreign.convert(source, target, clip=clip, arrangement=arrangement)
    if json:
        print_json(asdict(report) | {"target": str(target)})
        return 0
    print_line(f"{report.source} (SHA-256 {report.sha256}) → {target}")
    if report.arrangement:
        print_line(f"MAFT+ with {report.arrangement} weights (--arrangement)")
    names_by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in report.dropped.items():
        names_by_reason[reason].append(name)
    for reason, names in names_by_reason.items():
        print_line(f"dropped, {reason}: {_some(names)}")
    if report.filled:
        print_line(f"filled in from OpenCLIP's weights: {_some(report.filled)}")
    return 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more (--json lists all)" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
