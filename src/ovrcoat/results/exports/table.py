"""The formats that `ovrcoat segment --format` and `Result.save` write: names, tasks and requirements.

An exporter is imported when its format is chosen.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ovrcoat.errors import ConfigError
from ovrcoat.results.exports.exporter import Exporter
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category

ALL_TASKS = ("panoptic", "semantic", "instance")


@dataclass(frozen=True, slots=True)
class Format:
    """One row of the table.

    Attributes:
        summary: what is written, for one image unless the text says otherwise.
        tasks: the tasks whose results the format can hold.
        exporter: "module.Class" of the exporter in this package; None for the formats that `RunWriter` writes
            itself.
        needs_coco: whether pycocotools is needed (extra `coco`).
    """

    summary: str
    tasks: tuple[str, ...]
    exporter: str | None
    needs_coco: bool = False


FORMATS = {
    "coco-panoptic": Format("id PNG, overlay; panoptic.json of the run", ("panoptic", "semantic"), None),
    "coco-results": Format("overlay; instances.json of the run", ("instance",), None, needs_coco=True),
    "coco-instances": Format(
        "COCO annotations of the run, RLE masks",
        ("panoptic", "instance"),
        "coco_instances.CocoInstances",
        needs_coco=True,
    ),
    "cvat": Format(
        "COCO annotations of the run that CVAT imports as masks",
        ALL_TASKS,
        "coco_instances.Cvat",
        needs_coco=True,
    ),
    "semantic-png": Format(
        "PNG with one category per pixel", ("panoptic", "semantic"), "semantic_png.SemanticPng"
    ),
    "yolo": Format(
        "YOLO segmentation labels, and a copy of the image", ("panoptic", "instance"), "yolo.Yolo"
    ),
    "cityscapes": Format("Cityscapes instanceIds PNG", ("panoptic",), "cityscapes.Cityscapes"),
    "labelme": Format("Labelme JSON with masks", ALL_TASKS, "labelme.Labelme"),
    "label-studio": Format("Label Studio task with brush predictions", ALL_TASKS, "label_studio.LabelStudio"),
    "jsonl": Format("one JSON line, RLE masks", ALL_TASKS, "json_lines.JsonLines", needs_coco=True),
    "npz": Format("NumPy arrays", ALL_TASKS, "npz.Npz"),
}
DEFAULT_FORMATS = {"panoptic": "coco-panoptic", "semantic": "coco-panoptic", "instance": "coco-results"}


def choose_formats(
    names: str | Sequence[str] | None, *, task: str, categories: Sequence[Category]
) -> tuple[str, ...]:
    """Return the names of the formats to write, after all checks that need no result.

    Args:
        names: names, or one text with commas between them; None selects the task's default.
        task: the task of the results.
        categories: the vocabulary's categories.

    Raises:
        ConfigError: a name is unknown, or the format cannot hold the results of the task or the categories.
        MissingExtraError: a format needs an optional dependency that is not installed.
    """
    if names is None:
        names = DEFAULT_FORMATS[task]
    listed = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    chosen = tuple(dict.fromkeys(name for name in listed if name))
    if not chosen:
        raise ConfigError(f"no format is given; choose from {', '.join(FORMATS)}")
    for name in chosen:
        if name not in FORMATS:
            raise ConfigError(f"{name!r} is not a format; choose from {', '.join(FORMATS)}")
        tasks = FORMATS[name].tasks
        if task not in tasks:
            fitting = ", ".join(other for other, row in FORMATS.items() if task in row.tasks)
            raise ConfigError(
                f"the format {name} holds results of the task {' or '.join(tasks)}, but the task is {task}. "
                f"For {task}, choose from {fitting}"
            )
        if FORMATS[name].needs_coco:
            import_optional("pycocotools.mask", extra="coco")
        if (exporter := load_exporter(name)) is not None:
            exporter.check_categories(categories)
    return chosen


def load_exporter(name: str) -> type[Exporter] | None:
    """Import the exporter of a format; None for a format that `RunWriter` writes itself."""
    path = FORMATS[name].exporter
    if path is None:
        return None
    module, _, class_name = path.partition(".")
    return cast(type[Exporter], getattr(importlib.import_module(f"{__package__}.{module}"), class_name))
