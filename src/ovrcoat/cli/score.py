"""`ovrcoat score`: files of truth and prediction in; panoptic quality, mean IoU or mask AP out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_line, print_note, print_table
from ovrcoat.errors import ConfigError
from ovrcoat.vocabulary import Vocabulary

# as in ovrcoat.config, which a help page need not import: pydantic takes a tenth of a second
Task = Literal["panoptic", "semantic", "instance"]
STDOUT = Path("-")
IGNORE = 255  # in a map of labels: nobody knows (the convention of all published data sets)
# task → options that it needs, options that it knows besides
OPTIONS: dict[Task, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "panoptic": (("truth", "truth_dir", "prediction", "prediction_dir"), ("seen", "seen_ids", "areas")),
    "semantic": (("truth_dir", "prediction_dir", "categories"), ("ignore",)),
    "instance": (("truth", "prediction"), ()),
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is compared."""

    truth: Path | None = None
    """The true JSON: COCO's panoptic format, or for instances its instances format."""

    truth_dir: Path | None = None
    """The folder of true PNG files: segment ids, or for semantic a category per pixel."""

    prediction: Path | None = None
    """The predicted JSON: COCO's panoptic format, or for instances its results format."""

    prediction_dir: Path | None = None
    """The folder of predicted PNG files."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How it is compared."""

    seen: str | None = None
    """What training knew, for Seen and Unseen (panoptic): a preset such as coco, a file, or words."""

    seen_ids: str | None = None
    """The same as category ids of the truth: 1,2,17."""

    areas: Literal["json", "png"] | None = None
    """True areas (panoptic) from the JSON, as published results have them, or counted. [default: json]"""

    categories: str | None = None
    """The categories of the maps (semantic), in the order of their values: how many, a preset, or a file."""

    ignore: int | None = None
    """The value of true pixels that nobody knows (semantic). [default: 255]"""


def score(
    *,
    task: Task = "panoptic",
    files: Files = Files(),
    rules: Rules = Rules(),
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Score predictions in files, as the published evaluation codes do, after checking the files.

    Parameters
    ----------
    task
        panoptic (PQ), semantic (mean IoU) or instance (mask AP).
    json
        Write all figures as one JSON document to this file; - is stdout, instead of tables.
    quiet
        No tables, notes or progress; errors are still told.
    """
    _check_options(task, files, rules)
    figures = {"panoptic": _panoptic, "semantic": _semantic, "instance": _instance}[task](
        files, rules, progress=not quiet
    )
    if not quiet:
        for issue in figures["issues"]:
            places = "; ".join(issue["examples"])
            places += " …" if issue["count"] > len(issue["examples"]) else ""
            print_note(f"{issue['severity']}: {issue['message']} ({issue['count']} ×: {places})")
    if json is not None:
        _write(json, figures)
    if not quiet and json != STDOUT:
        {"panoptic": _say_panoptic, "semantic": _say_semantic, "instance": _say_instance}[task](figures)
    return 0


def _check_options(task: Task, files: Files, rules: Rules) -> None:
    """Refuse what the task does not know, and ask for what it lacks."""
    needed, known = OPTIONS[task]
    names = (*Files.__dataclass_fields__, *Rules.__dataclass_fields__)
    given = {name for name in names if getattr(files if hasattr(files, name) else rules, name) is not None}
    if missing := [name for name in needed if name not in given]:
        raise ConfigError(
            f"--task {task} needs {_flags(missing)}; give {'them' if missing[1:] else 'it'} too"
        )
    if foreign := [name for name in names if name in given.difference(needed, known)]:
        raise ConfigError(
            f"--task {task} does not know {_flags(foreign)}, expected {_flags((*needed, *known))}; "
            "leave it out, or give another --task"
        )
    if rules.seen is not None and rules.seen_ids is not None:
        raise ConfigError("--seen and --seen-ids say the same thing twice; give one of them")


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _panoptic(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.scoring.panoptic import PanopticSource, score_panoptic

    seen: Vocabulary | Collection[int] | None = None
    if rules.seen is not None:
        seen = Vocabulary.read(rules.seen)
    elif rules.seen_ids is not None:
        seen = _ids(rules.seen_ids)
    return score_panoptic(
        PanopticSource(_given(files.truth), _given(files.truth_dir)),
        PanopticSource(_given(files.prediction), _given(files.prediction_dir)),
        seen=seen,
        areas=rules.areas or "json",
        progress=progress,
    )


def _semantic(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.metrics.mean_iou import score_semantic

    text = rules.categories or ""
    if text.isascii() and text.isdigit():
        names = [str(value) for value in range(int(text[:6]))]  # maps hold at most 16 bits
    else:
        names = [category.name for category in Vocabulary.read(text).categories]
    return score_semantic(
        _given(files.truth_dir),
        _given(files.prediction_dir),
        category_names=names,
        ignore_label=IGNORE if rules.ignore is None else rules.ignore,
        progress=progress,
    )


def _instance(files: Files, rules: Rules, *, progress: bool) -> dict[str, Any]:
    from ovrcoat.evaluation.metrics.average_precision import score_instances

    return score_instances(_given(files.truth), _given(files.prediction))


def _given(path: Path | None) -> Path:
    assert path is not None, "_check_options has seen to it"
    return path


def _ids(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seen-ids is {text!r}, expected whole numbers such as 1,2,17") from error


def _say_panoptic(figures: Mapping[str, Any]) -> None:
    print_line(f"{figures['n_images']} images, areas from the {figures['areas'].upper()}; percent\n")
    print_table(
        ("group", "PQ", "SQ", "RQ", "categories"),
        [
            (name.replace("_", " "), *_percents(group, ("pq", "sq", "rq")), str(group["n"]))
            for name, group in figures["groups"].items()
        ],
    )
    print_table(
        ("category", "id", "kind", "PQ", "SQ", "RQ", "TP", "FP", "FN"),
        [
            (
                entry["name"],
                id,
                ("thing" if entry["isthing"] else "stuff") + (", seen" if entry.get("seen") else ""),
                *_percents(entry, ("pq", "sq", "rq")),
                *(str(entry[count]) for count in ("tp", "fp", "fn")),
            )
            for id, entry in figures["per_class"].items()
        ],
    )


def _say_semantic(figures: Mapping[str, Any]) -> None:
    print_line(f"{figures['n_images']} images; percent\n")
    print_table(
        ("mIoU", "fwIoU", "mACC", "pACC"),
        [[_one_decimal(figures[name]) for name in ("mIoU", "fwIoU", "mACC", "pACC")]],
    )
    rows = zip(figures["class_names"], figures["iou"], figures["acc"], strict=True)
    print_table(
        ("category", "IoU", "accuracy"),
        [(name, _one_decimal(iou), _one_decimal(accuracy)) for name, iou, accuracy in rows],
    )


def _say_instance(figures: Mapping[str, Any]) -> None:
    print_line("percent\n")
    print_table(
        ("figure", "value"), [(name, _one_decimal(value)) for name, value in figures["stats"].items()]
    )
    print_table(
        ("category", "id", "AP", "AP50"),
        [
            (entry["name"], id, *(_one_decimal(entry[name]) for name in ("AP", "AP50")))
            for id, entry in figures["per_class"].items()
        ],
    )


def _percents(figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_one_decimal(None if figures[name] is None else 100 * figures[name]) for name in names]


def _one_decimal(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f}"


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    if path == STDOUT:
        print_json(figures)
        return
    import json

    from ovrcoat.system.atomic_write import write_atomically

    text = json.dumps(figures, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
