"""`ovrcoat evaluate`: a model and labelled images in; tables and a report in three forms out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ovrcoat.cli.evaluate_options import Images, Machine, Protocol, Report
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_line, print_note
from ovrcoat.errors import ConfigError

if TYPE_CHECKING:
    from ovrcoat.config import Trust
    from ovrcoat.evaluation.plan import EvaluationSettings
    from ovrcoat.evaluation.reports.report import EvaluationReport

DEFAULT_OUTPUT = Path("ovrcoat-evaluation")
STDOUT = Path("-")


def evaluate(
    *,
    images: Images,
    protocol: Protocol = Protocol(),  # noqa: B008 - frozen
    machine: Machine = Machine(),  # noqa: B008
    report: Report = Report(),  # noqa: B008
) -> int:
    """Measure a model on labelled images: PQ, mIoU, mask AP, and where masks are lost.

    Interrupted, the same command goes on where it stopped.
    """
    from ovrcoat.data.catalog import open_dataset

    dataset = open_dataset(images.data, root=images.root, split=images.split)
    trusts = tuple(_trust(text) for text in protocol.trust.split(","))
    if not report.quiet:
        split = f" ({dataset.split})" if dataset.split else ""
        some = "" if images.limit is None and images.held_out is None else "some of "
        print_note(
            f"data: {dataset.name}{split}, {some}{len(dataset)} images, model: {machine.model}, "
            f"γ: {protocol.trust}"
        )
    with heavy_imports():
        from ovrcoat.evaluation import evaluator
        from ovrcoat.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(
        machine.model, device=machine.device, dtype=machine.dtype, compile=machine.compile
    )
    folder = report.output or DEFAULT_OUTPUT / dataset.name
    journal = folder / "journal.jsonl"
    try:
        found = evaluator.evaluate(
            segmenter,
            dataset,
            settings=_settings(images, protocol, trusts=trusts, model=machine.model),
            journal=journal,
            predictions=report.save_predictions,
            overwrite=report.overwrite,
            progress=not report.quiet,
        )
    except KeyboardInterrupt:
        print_error(f"interrupted; what is done is kept in {journal}: run the same command again to go on")
        return 130
    _write(found, folder)
    return _tell(found, folder, report=report)


def _settings(
    images: Images, protocol: Protocol, *, trusts: "tuple[Trust, ...]", model: str
) -> "EvaluationSettings":
    from ovrcoat.evaluation.plan import EvaluationSettings

    return EvaluationSettings(
        trusts=trusts,
        tasks=tuple(task.strip() for task in protocol.task.split(",")),
        vocabulary=protocol.vocabulary,
        background=protocol.background,
        oracle=protocol.oracle,
        seen=protocol.seen,
        areas=protocol.areas,
        held_out=images.held_out,
        limit=images.limit,
        protocol=protocol.protocol,
        short_side=protocol.short_side,
        max_long_side=protocol.max_long_side,
        model_name=Path(model).name,
    )


def _trust(text: str) -> "Trust":
    if text.strip() == "adaptive":
        return "adaptive"
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"--trust: {text.strip()!r} is no γ; give numbers from 0 to 1 or adaptive, with commas: 0,0.5"
        ) from error


def _write(found: "EvaluationReport", folder: Path) -> None:
    """The three files of a report."""
    from ovrcoat.evaluation.reports import tables as report_tables

    _put(folder / "report.json", found.to_json())
    _put(folder / "report.md", report_tables.markdown(found))
    _put(folder / "per_category.csv", report_tables.csv(found))


def _put(path: Path, text: str) -> None:
    from ovrcoat.system.atomic_write import write_atomically

    write_atomically(path, lambda file: file.write(text.encode()))


def _tell(found: "EvaluationReport", folder: Path, *, report: Report) -> int:
    """Tables or JSON to stdout; the exit status."""
    from ovrcoat.evaluation.reports.tables import table

    if report.json == STDOUT:
        print_line(json.dumps(found.to_dict(), allow_nan=False))
    elif report.json is not None:
        _put(report.json, found.to_json())
    if not report.quiet and report.json != STDOUT:
        print_line(table(found))
    if not report.quiet:
        if resumed := found.timing["images_of_an_earlier_run"]:
            print_note(f"{resumed} of {found.data.images} images were done by an earlier run")
        print_note(f"→ {folder / 'report.json'}, report.md, per_category.csv")
    errors = [issue for issue in found.issues if issue.severity == "error"]
    for issue in errors:
        print_error(str(issue))
    return int(bool(errors))
