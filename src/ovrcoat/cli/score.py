"""`ovrcoat score`: compute panoptic quality, mean IoU or mask AP of predictions in files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ovrcoat._version import __version__
from ovrcoat.cli.terminal import print_error, print_json, print_line, print_note, print_table
from ovrcoat.errors import ConfigError
from ovrcoat.formats.json_files import write_json
from ovrcoat.issues import Issue
from ovrcoat.system.atomic_write import write_output
from ovrcoat.vocabulary import Vocabulary

# as in ovrcoat.config, which a help page need not import: pydantic takes a tenth of a second
Task = Literal["panoptic", "semantic", "instance"]
STDOUT = Path("-")
DEFAULT_IGNORE = 255  # unlabeled pixels in a label map, by the convention of all published datasets
# task → required options, optional options
OPTIONS: dict[Task, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "panoptic": (("truth", "truth_dir", "prediction", "prediction_dir"), ("seen", "seen_ids", "areas")),
    "semantic": (("truth_dir", "prediction_dir", "categories"), ("ignore",)),
    "instance": (("truth", "prediction"), ()),
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files to compare."""

    truth: Path | None = None
    """Ground-truth JSON: COCO's panoptic format, or for instances its instances format."""

    truth_dir: Path | None = None
    """Folder of ground-truth PNG files: segment ids, or for semantic one category per pixel."""

    prediction: Path | None = None
    """Predicted JSON: COCO's panoptic format, or for instances its results format."""

    prediction_dir: Path | None = None
    """Folder of predicted PNG files."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules of the comparison."""

    seen: str | None = None
    """Training vocabulary, to report Seen and Unseen (panoptic): a preset, a file, or class names."""

    seen_ids: str | None = None
    """The same as category ids of the ground truth: 1,2,17."""

    areas: Literal["json", "png"] | None = None
    """Ground-truth areas (panoptic): json, as in published results, or png, counted. [default: json]"""

    categories: str | None = None
    """Categories of the label maps (semantic) in the order of their values: a count, a preset, or a file."""

    ignore: int | None = None
    """Value of unlabeled ground-truth pixels (semantic). [default: 255]"""


def score(
    *,
    task: Task = "panoptic",
    files: Files = Files(),
    rules: Rules = Rules(),
    merge: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Score predictions in files like the published evaluation code, after checking the files.

    Parameters
    ----------
    task
        panoptic (PQ), semantic (mean IoU) or instance (mask AP).
    merge
        Make the report of all shards: the output folders of evaluate --shard. Excludes all other options
        but --json and --quiet.
    json
        Write all scores to this JSON file; - prints JSON instead of tables.
    quiet
        Print no tables, notes or progress; errors are still printed.
    """
    if merge:
        if task != "panoptic" or files != Files() or rules != Rules():
            raise ConfigError("--merge takes only the folders of evaluate --shard; remove the other options")
        return _merge(merge, json=json, quiet=quiet)
    _check_options(task, files, rules)
    compute = {"panoptic": _score_panoptic, "semantic": _score_semantic, "instance": _score_instances}[task]
    scores = {"ovrcoat": __version__, **compute(files, rules, progress=not quiet)}
    if not quiet:
        for issue in scores["issues"]:
            print_note(f"{issue['severity']}: {Issue(**issue)}")
    if json == STDOUT:
        print_json(scores)
    elif json is not None:
        write_json(json, scores)
    if not quiet and json != STDOUT:
        show = {"panoptic": _print_panoptic, "semantic": _print_semantic, "instance": _print_instances}[task]
        show(scores)
    return 0


def _merge(parts: Sequence[Path], *, json: Path | None, quiet: bool) -> int:
    """Print or write the report of all shards; return the exit status, 1 if it has errors."""
    from ovrcoat.evaluation.partial import merge_partials
    from ovrcoat.evaluation.reports.tables import format_text

    report = merge_partials(parts)
    if json == STDOUT:
        print_line(report.to_json().rstrip("\n"))
    elif json is not None:
        content = report.to_json().encode("utf-8", "backslashreplace")
        write_output(json, lambda file: file.write(content))
    if not quiet and json != STDOUT:
        print_line(format_text(report))
    errors = [issue for issue in report.issues if issue.severity == "error"]
    for issue in errors:
        print_error(str(issue))
    return int(bool(errors))


def _check_options(task: Task, files: Files, rules: Rules) -> None:
    """Reject options that the task does not use, and missing options.

    Raises:
        ConfigError: Names the options.
    """
    required, optional = OPTIONS[task]
    names = (*Files.__dataclass_fields__, *Rules.__dataclass_fields__)
    given = {name for name in names if getattr(files if hasattr(files, name) else rules, name) is not None}
    if missing := [name for name in required if name not in given]:
        raise ConfigError(f"--task {task} needs {_flags(missing)}; add {'them' if missing[1:] else 'it'}")
    if unsupported := [name for name in names if name in given.difference(required, optional)]:
        raise ConfigError(
            f"--task {task} does not support {_flags(unsupported)}, expected "
            f"{_flags((*required, *optional))}; remove it, or choose another --task"
        )
    if rules.seen is not None and rules.seen_ids is not None:
        raise ConfigError("--seen and --seen-ids exclude each other; give one of them")


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _score_panoptic(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.scoring.panoptic import score_panoptic
    from ovrcoat.formats.panoptic_json import PanopticSource

    seen: Vocabulary | Collection[int] | None = None
    if rules.seen is not None:
        seen = Vocabulary.read(rules.seen)
    elif rules.seen_ids is not None:
        seen = _parse_ids(rules.seen_ids)
    return score_panoptic(
        PanopticSource(_required(files.truth), _required(files.truth_dir)),
        PanopticSource(_required(files.prediction), _required(files.prediction_dir)),
        seen=seen,
        areas=rules.areas or "json",
        progress=progress,
    )


def _score_semantic(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.scoring.semantic import score_semantic

    text = rules.categories or ""
    if text.isascii() and text.isdigit():
        names = [str(value) for value in range(int(text[:6]))]  # label maps have at most 16 bits
    else:
        vocabulary = Vocabulary.read(text)
        if vocabulary.skipped:
            raise ConfigError(
                f"--categories {text}: names stand for no class ({', '.join(vocabulary.skipped)}), "
                "so it is unclear which values the label maps have; give one class name per value, from 0 on"
            )
        names = [category.name for category in vocabulary.categories]
    return score_semantic(
        _required(files.truth_dir),
        _required(files.prediction_dir),
        category_names=names,
        ignore_label=DEFAULT_IGNORE if rules.ignore is None else rules.ignore,
        progress=progress,
    )


def _score_instances(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.scoring.instances import score_instances

    return score_instances(_required(files.truth), _required(files.prediction))


def _required(path: Path | None) -> Path:
    assert path is not None, "checked by _check_options"
    return path


def _parse_ids(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seen-ids is {text!r}, expected integers such as 1,2,17") from error


def _print_panoptic(scores: Mapping[str, Any]) -> None:
    print_line(f"{scores['n_images']} images, areas from the {scores['areas'].upper()}; percent\n")
    print_table(
        ("group", "PQ", "SQ", "RQ", "categories"),
        [
            (name.replace("_", " "), *_percentages(group, ("pq", "sq", "rq")), str(group["n"]))
            for name, group in scores["groups"].items()
        ],
    )
    print_table(
        ("category", "id", "kind", "PQ", "SQ", "RQ", "TP", "FP", "FN"),
        [
            (
                entry["name"],
                id,
                ("thing" if entry["isthing"] else "stuff") + (", seen" if entry.get("seen") else ""),
                *_percentages(entry, ("pq", "sq", "rq")),
                *(str(entry[count]) for count in ("tp", "fp", "fn")),
            )
            for id, entry in scores["per_class"].items()
        ],
    )


def _print_semantic(scores: Mapping[str, Any]) -> None:
    print_line(f"{scores['n_images']} images; percent\n")
    print_table(
        ("mIoU", "fwIoU", "mACC", "pACC"),
        [[_one_decimal(scores[name]) for name in ("mIoU", "fwIoU", "mACC", "pACC")]],
    )
    rows = zip(scores["class_names"], scores["iou"], scores["acc"], strict=True)
    print_table(
        ("category", "IoU", "accuracy"),
        [(name, _one_decimal(iou), _one_decimal(accuracy)) for name, iou, accuracy in rows],
    )


def _print_instances(scores: Mapping[str, Any]) -> None:
    print_line("percent\n")
    print_table(("score", "value"), [(name, _one_decimal(value)) for name, value in scores["stats"].items()])
    print_table(
        ("category", "id", "AP", "AP50"),
        [
            (entry["name"], id, *(_one_decimal(entry[name]) for name in ("AP", "AP50")))
            for id, entry in scores["per_class"].items()
        ],
    )


def _percentages(scores: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_one_decimal(None if scores[name] is None else 100 * scores[name]) for name in names]


def _one_decimal(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f}"
