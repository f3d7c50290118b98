"""`ovrcoat check-data`: report all issues of labels, predictions and results before computing scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from ovrcoat._version import __version__
from ovrcoat.cli.terminal import print_json, print_line, print_note
from ovrcoat.errors import ConfigError
from ovrcoat.formats.json_files import write_json
from ovrcoat.issues import MAX_EXAMPLES, Issue, IssueList


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files to check instead of a dataset, or in addition to it."""

    truth: Path | None = None
    """Panoptic ground truth: a JSON file in COCO's format."""

    truth_dir: Path | None = None
    """Folder of its PNGs."""

    prediction: Path | None = None
    """Panoptic predictions for that ground truth: a JSON file in COCO's format."""

    prediction_dir: Path | None = None
    """Folder of their PNGs."""

    instances: Path | None = None
    """Ground truth for mask AP: a JSON file in COCO's instances format."""

    results: Path | None = None
    """Results for that ground truth: a JSON file in COCO's results format."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: what was checked, its issues, the number of images, and the tasks of a dataset."""

    subject: str
    issues: IssueList
    image_count: int
    tasks: tuple[str, ...] | None = None


def check_data(
    data: str | None = None,
    /,
    *,
    root: Path | None = None,
    split: str | None = None,
    vocabulary: str | None = None,
    files: Files = Files(),
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check labels, predictions and results for issues that would make scores meaningless.

    The exit status is 1 if there are errors.

    Parameters
    ----------
    data
        A dataset (coco, ade20k, cityscapes, mapillary), or your own folder or zip file.
    root
        Folder of the datasets. [default: $OVRCOAT_DATASETS, $DETECTRON2_DATASETS, ./datasets]
    split
        val or train. [default: val]
    vocabulary
        Class names or a file: lists the labels that it lacks, with their number of segments, for example
        before training. [default: all presets, for your own folders]
    json
        Also write all issues to this JSON file; - prints JSON instead of text.
    limit
        Decode only the first N images and label files; lists are always checked completely.
    quiet
        Print only the last line, and no progress bar.
    """
    _check_usage(data, files)
    checks = [
        *_check_dataset(data, root=root, split=split, vocabulary=vocabulary, limit=limit, progress=not quiet),
        *_check_panoptic(files, limit=limit, progress=not quiet),
        *_check_instances(files),
    ]
    if json == Path("-"):
        print_json(_document(checks))
    else:
        _print(checks, quiet=quiet)
        if json is not None:
            write_json(json, _document(checks))
            print_note(f"→ {json}")
    return int(any(check.issues.with_severity("error") for check in checks))


def _check_usage(data: str | None, files: Files) -> None:
    """Reject incomplete pairs of options, and a call without anything to check.

    Raises:
        ConfigError: Names the missing option.
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
        raise ConfigError("nothing to check; name a dataset or a folder, or give --truth or --instances")


def _check_dataset(
    data: str | None,
    *,
    root: Path | None,
    split: str | None,
    vocabulary: str | None,
    limit: int | None,
    progress: bool,
) -> list[Check]:
    if data is None:
        return []
    from ovrcoat.evaluation.checks.dataset import check_dataset

    check = check_dataset(data, root=root, split=split, vocabulary=vocabulary, limit=limit, progress=progress)
    return [Check(data, check.issues, check.image_count, check.tasks)]


def _check_panoptic(files: Files, *, limit: int | None, progress: bool) -> list[Check]:
    if files.truth is None or files.truth_dir is None:
        return []
    from ovrcoat.evaluation.checks.ground_truth import check_ground_truth
    from ovrcoat.evaluation.scoring.panoptic import check_panoptic
    from ovrcoat.formats.panoptic_json import PanopticSource

    truth = PanopticSource(files.truth, files.truth_dir)
    if files.prediction is None or files.prediction_dir is None:
        return [Check(str(files.truth), *check_ground_truth(truth, limit=limit, progress=progress))]
    prediction = PanopticSource(files.prediction, files.prediction_dir)
    result = check_panoptic(truth, prediction, progress=progress)
    return [Check(f"{files.prediction} against {files.truth}", *result)]


def _check_instances(files: Files) -> list[Check]:
    if files.instances is None:
        return []
    from ovrcoat.evaluation.checks.instances import check_instances
    from ovrcoat.formats.json_files import read_json_list, read_json_object

    truth = read_json_object(files.instances, expected="an object in COCO's instances format")
    results = (
        None
        if files.results is None
        else read_json_list(files.results, expected="a list in COCO's results format")
    )
    subject = str(files.instances) if results is None else f"{files.results} against {files.instances}"
    images = truth.get("images")
    return [Check(subject, check_instances(truth, results), len(images) if isinstance(images, list) else 0)]


def _print(checks: list[Check], *, quiet: bool) -> None:
    """Print errors, then warnings, then notes, and a summary as the last line."""
    for check in checks if not quiet else ():
        print_line(f"{check.subject}: {_count(check.image_count, 'image')}")
        if check.tasks:
            print_line(f"serves the tasks: {', '.join(check.tasks)}")
        for issue in _sorted(check.issues):
            print_line(f"\n{issue.severity} {issue.code}, {issue.count} ×")
            print_line(f"  {issue.message}")
            for example in issue.examples:
                print_line(f"  - {example}")
            if issue.count > MAX_EXAMPLES:
                print_line(f"  - … and {issue.count - MAX_EXAMPLES} more")
        print_line("")
    errors, warnings = (
        sum(len(check.issues.with_severity(severity)) for check in checks)
        for severity in ("error", "warning")
    )
    images = _count(sum(check.image_count for check in checks), "image")
    if errors or warnings:
        print_line(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    else:
        print_line(f"no issues found in {images}")


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
                **({} if check.tasks is None else {"tasks": check.tasks}),
                "issues": [issue.to_dict() for issue in _sorted(check.issues)],
            }
            for check in checks
        ],
    }
