"""`ovrcoat check-data`: every fault of labels, predictions and results at once, before any number."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from ovrcoat._version import __version__
from ovrcoat.cli.terminal import print_json, print_line, print_note
from ovrcoat.errors import ConfigError
from ovrcoat.issues import MAX_EXAMPLES, Issue, IssueList


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files to check instead of a data set, or beside it."""

    truth: Path | None = None
    """Panoptic truth: a JSON file in COCO's format."""

    truth_dir: Path | None = None
    """The folder of its PNGs."""

    prediction: Path | None = None
    """Panoptic prediction for that truth: a JSON file in COCO's format."""

    prediction_dir: Path | None = None
    """The folder of its PNGs."""

    instances: Path | None = None
    """Ground truth of mask AP: a JSON file in COCO's instances format."""

    results: Path | None = None
    """Results for it: a JSON file in COCO's results format."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and in how many photos."""

    subject: str
    issues: IssueList
    image_count: int


def check_data(
    data: str | None = None,
    /,
    *,
    root: Path | None = None,
    split: str | None = None,
    files: Files = Files(),
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check labelled data, predictions and results for faults that would make numbers mean nothing.

    The exit status is 1 if there are errors.

    Parameters
    ----------
    data
        A data set (coco, ade20k, cityscapes, mapillary), or a folder or zip file of your own.
    root
        Where the data sets lie. [default: $OVRCOAT_DATASETS, $DETECTRON2_DATASETS, ./datasets]
    split
        val or train. [default: val]
    json
        Also write the findings to this file; - prints them instead of the text.
    limit
        Look into the pictures of the first so many images only; lists are checked whole.
    quiet
        Only the last line, and no progress bar.
    """
    _check_usage(data, files)
    checks = [
        *_dataset(data, root=root, split=split, limit=limit, progress=not quiet),
        *_panoptic(files, limit=limit, progress=not quiet),
        *_instances(files),
    ]
    if json == Path("-"):
        print_json(_document(checks))
    else:
        _tell(checks, quiet=quiet)
        if json is not None:
            _write(json, _document(checks))
    return int(any(check.issues.with_severity("error") for check in checks))


def _check_usage(data: str | None, files: Files) -> None:
    """Refuse halves of pairs, and nothing at all.

    Raises:
        ConfigError: says what is missing.
    """
    needs = (
        ("truth", files.truth, "truth-dir", files.truth_dir),
        ("truth-dir", files.truth_dir, "truth", files.truth),
        ("prediction", files.prediction, "prediction-dir", files.prediction_dir),
        ("prediction-dir", files.prediction_dir, "prediction", files.prediction),
        ("prediction", files.prediction, "truth", files.truth),
        ("results", files.results, "instances", files.instances),
    )
    for given, path, needed, other in needs:
        if path is not None and other is None:
            raise ConfigError(f"--{given} was given without --{needed}; give both")
    if data is None and files.truth is None and files.instances is None:
        raise ConfigError("nothing to check; name a data set or a folder, or give --truth or --instances")


def _dataset(
    data: str | None, *, root: Path | None, split: str | None, limit: int | None, progress: bool
) -> list[Check]:
    if data is None:
        return []
    from ovrcoat.evaluation.checks.dataset import check_dataset

    check = check_dataset(data, root=root, split=split, limit=limit, progress=progress)
    return [Check(data, check.issues, check.image_count)]


def _panoptic(files: Files, *, limit: int | None, progress: bool) -> list[Check]:
    if files.truth is None or files.truth_dir is None:
        return []
    from ovrcoat.evaluation.checks.ground_truth import check_truth
    from ovrcoat.evaluation.scoring.panoptic import PanopticSource, check_panoptic

    truth = PanopticSource(files.truth, files.truth_dir)
    if files.prediction is None or files.prediction_dir is None:
        return [Check(str(files.truth), *check_truth(truth, limit=limit, progress=progress))]
    prediction = PanopticSource(files.prediction, files.prediction_dir)
    found = check_panoptic(truth, prediction, progress=progress)
    return [Check(f"{files.prediction} against {files.truth}", *found)]


def _instances(files: Files) -> list[Check]:
    if files.instances is None:
        return []
    from ovrcoat.evaluation.checks.ground_truth import read_list, read_object
    from ovrcoat.evaluation.checks.instances import check_instances

    truth = read_object(files.instances)
    results = None if files.results is None else read_list(files.results)
    subject = str(files.instances) if results is None else f"{files.results} against {files.instances}"
    images = truth.get("images")
    return [Check(subject, check_instances(truth, results), len(images) if isinstance(images, list) else 0)]


def _tell(checks: list[Check], *, quiet: bool) -> None:
    """Errors first, then warnings, then notes; the last line sums up."""
    for check in checks if not quiet else ():
        print_line(f"{check.subject}: {_count(check.image_count, 'image')}")
        for issue in _sorted(check.issues):
            print_line(f"\n{issue.severity} {issue.code}, {issue.count} ×")
            print_line(f"  {issue.message}")
            for example in issue.examples:
                print_line(f"  - {example}")
            if issue.count > MAX_EXAMPLES:
                print_line(f"  - … and {issue.count - MAX_EXAMPLES} more")
        print_line("")
    errors, warnings = (
        sum(len(check.issues.with_severity(level)) for check in checks) for level in ("error", "warning")
    )
    images = _count(sum(check.image_count for check in checks), "image")
    if errors or warnings:
        print_line(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    else:
        print_line(f"no faults found in {images}")


def _sorted(issues: IssueList) -> list[Issue]:
    return [*issues.with_severity("error"), *issues.with_severity("warning"), *issues.with_severity("note")]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _document(checks: list[Check]) -> dict[str, Any]:
    return {
        "ovrcoat": __version__,
        "errors": sum(len(check.issues.with_severity("error")) for check in checks),
        "warnings": sum(len(check.issues.with_severity("warning")) for check in checks),
        "checks": [
            {
                "subject": check.subject,
                "images": check.image_count,
                "issues": [issue.to_dict() for issue in _sorted(check.issues)],
            }
            for check in checks
        ],
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    from ovrcoat.system.atomic_write import write_atomically

    content = json_format.dumps(document, indent=2, ensure_ascii=False).encode()
    write_atomically(path, lambda file: file.write(content))
    print_note(f"→ {path}")
