"""`ovrcoat evaluate`: measures a model on labeled images; prints tables and writes a report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ovrcoat.cli.evaluate_options import DataOptions, ModelOptions, OutputOptions, ProtocolOptions
from ovrcoat.cli.options import SourceOptions
from ovrcoat.cli.signals import exit_status
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_line, print_note
from ovrcoat.errors import ConfigError
from ovrcoat.system.atomic_write import MARKDOWN_SIGNATURE, check_replaceable, write_atomically
from ovrcoat.system.shard import Shard

if TYPE_CHECKING:
    from ovrcoat.choices import Trust
    from ovrcoat.evaluation.partial import Partial
    from ovrcoat.evaluation.plan import EvaluationSettings
    from ovrcoat.evaluation.reports.report import EvaluationReport

DEFAULT_OUTPUT = Path("ovrcoat-evaluation")
STDOUT = Path("-")


class _Options(TypedDict):
    """Arguments that a whole run and a shard share."""

    journal: Path
    overwrite: bool
    progress: bool


def evaluate(
    *,
    data: DataOptions,
    protocol: ProtocolOptions = ProtocolOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008
    parts: SourceOptions = SourceOptions(),  # noqa: B008
    output: OutputOptions = OutputOptions(),  # noqa: B008
) -> int:
    """Measure a model on labeled images: PQ, mIoU, mask AP, and an error analysis.

    If it was interrupted, run the same command again to resume.
    """
    from ovrcoat.data.catalog import open_dataset

    dataset = open_dataset(data.data, root=data.root, split=data.split)
    shard = Shard.parse("1/1" if data.shard is None else data.shard)
    folder = output.output or DEFAULT_OUTPUT / dataset.name
    if data.shard is not None:
        _check_shard_options(output)
        folder = output.output or folder / f"shard-{shard.index}-of-{shard.count}"
    _check_outputs(folder, output)
    trusts = tuple(_parse_trust(text) for text in protocol.trust.split(","))
    if not output.quiet:
        split = f" ({dataset.split})" if dataset.split else ""
        some = "" if data.limit is None and data.held_out is None else "some of "
        print_note(
            f"data: {dataset.name}{split}, {some}{len(dataset)} images, "
            f"model: {parts.describe(model.model)}, "
            f"γ: {protocol.trust}"
        )
    with heavy_imports():
        from ovrcoat.cli.segmenters import load_segmenter
        from ovrcoat.evaluation import evaluator

    segmenter = load_segmenter(model, parts)
    journal = folder / "journal.jsonl"
    settings = _settings(data, protocol, trusts=trusts, model=parts.describe(model.model), shard=shard)
    options = _Options(journal=journal, overwrite=output.overwrite, progress=not output.quiet)
    try:
        if data.shard is not None:
            return _report_shard(
                evaluator.evaluate_shard(segmenter, dataset, settings=settings, **options),
                folder,
                quiet=output.quiet,
            )
        report = evaluator.evaluate(
            segmenter, dataset, settings=settings, predictions=output.save_predictions, **options
        )
    except KeyboardInterrupt as error:
        print_error(
            f"interrupted; finished images are kept in {journal}: run the same command again to resume"
        )
        return exit_status(error)
    _write_files(report, folder)
    return _print_report(report, folder, output=output)


def _settings(
    data: DataOptions, protocol: ProtocolOptions, *, trusts: "tuple[Trust, ...]", model: str, shard: Shard
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
        held_out=data.held_out,
        limit=data.limit,
        protocol=protocol.protocol,
        short_side=protocol.short_side,
        max_long_side=protocol.max_long_side,
        model_name=Path(model).name,
        shard=shard,
    )


def _parse_trust(text: str) -> "Trust":
    if text.strip() == "adaptive":
        return "adaptive"
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"--trust: {text.strip()!r} is not a valid trust value; expected numbers from 0 to 1 or "
            "adaptive, separated by commas: 0,0.5"
        ) from error


def _check_shard_options(output: OutputOptions) -> None:
    """Reject outputs that only a whole run has.

    Raises:
        ConfigError: names the option.
    """
    for name, value in (("--save-predictions", output.save_predictions), ("--json", output.json)):
        if value is not None:
            raise ConfigError(f"{name} needs all images, but --shard evaluates some of them; remove one")


def _report_shard(partial: "Partial", folder: Path, *, quiet: bool) -> int:
    """Write the results of a shard; return the exit status, 1 if images were skipped."""
    path = partial.write(folder)
    skipped = [image for image in partial.images if image.entry is None]
    for image in skipped:
        print_error(f"image-skipped: {image.image_id}: {image.skipped}")
    if not quiet:
        count = partial.header.shard[1]
        print_note(f"→ {path}")
        print_note(f"When all {count} shards are evaluated, run: ovrcoat score --merge FOLDER1 FOLDER2 ...")
    return int(bool(skipped))


def _check_outputs(folder: Path, output: OutputOptions) -> None:
    """Check before the work that no file of another program will be replaced.

    Raises:
        OutputError: there is such a file.
    """
    from ovrcoat.evaluation.reports.tables import CSV_COLUMNS

    for name in ("report.json", "report.md"):
        check_replaceable(folder / name, overwrite=output.overwrite)
    csv = folder / "per_category.csv"
    check_replaceable(csv, overwrite=output.overwrite, first_line=",".join(CSV_COLUMNS))
    if output.json not in (None, STDOUT):
        check_replaceable(output.json, overwrite=output.overwrite)


def _write_files(report: "EvaluationReport", folder: Path) -> None:
    """Write the three files of a report."""
    from ovrcoat.evaluation.reports.tables import format_csv, format_markdown

    _write_text(folder / "report.json", report.to_json())
    _write_text(folder / "report.md", f"{MARKDOWN_SIGNATURE}\n\n{format_markdown(report)}")
    _write_text(folder / "per_category.csv", format_csv(report))


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")), durable=True)


def _print_report(report: "EvaluationReport", folder: Path, *, output: OutputOptions) -> int:
    """Print tables or JSON on stdout; return the exit status."""
    from ovrcoat.evaluation.reports.tables import format_text

    if output.json == STDOUT:
        print_line(json.dumps(report.to_dict(), allow_nan=False))
    elif output.json is not None:
        _write_text(output.json, report.to_json())
    if not output.quiet and output.json != STDOUT:
        print_line(format_text(report))
    if not output.quiet:
        if resumed := report.timing["resumed_images"]:
            print_note(f"{resumed} of {report.data.images} images are from an earlier run")
        print_note(f"→ {folder / 'report.json'}, report.md, per_category.csv")
    errors = [issue for issue in report.issues if issue.severity == "error"]
    for issue in errors:
        print_error(str(issue))
    return int(bool(errors))
