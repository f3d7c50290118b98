"""`ovrcoat convert`: a published file of weights in, one of ours out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_line, print_note

SHOWN = 3  # names shown of a long list; --json has all


def convert(
    source: Path,
    target: Path,
    /,
    *,
    clip: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Turn a published FC-CLIP or OVRCOAT file into one that `segment --model` takes.

    Parameters
    ----------
    source
        The published file (.pth). It is read without running any code in it.
    target
        The file to write (.safetensors).
    clip
        A file of OpenCLIP weights for what the published file lacks; without it they are downloaded.
    json
        Print one JSON document with every name that was dropped or filled in.
    """
    from ovrcoat.checkpoints import foreign

    print_note(f"Reading {source}; this takes a while ...")
    report = foreign.convert(source, target, clip=clip)
    if json:
        print_json(asdict(report) | {"target": str(target)})
        return 0
    print_line(f"{report.source} (SHA-256 {report.sha256}) → {target}")
    names_by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in report.dropped.items():
        names_by_reason[reason].append(name)
    for reason, names in names_by_reason.items():
        print_line(f"dropped, {reason}: {_some(names)}")
    if report.filled:
        print_line(f"filled in from OpenCLIP's weights: {_some(report.filled)}")
    return 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more (--json lists all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
