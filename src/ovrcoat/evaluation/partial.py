"""Partial results of one shard of an evaluation, and the report that all shards give together.

A partial file holds JSON lines: a header, then one line per image. Images keep their position in the dataset,
and sums are computed in that order, so the merged report equals that of a single run to the last digit.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ovrcoat.config import TrustSetting
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.journal_entry import JournalEntry
from ovrcoat.evaluation.reports.report import (
    DatasetInfo,
    EvaluationReport,
    ModelInfo,
)
from ovrcoat.evaluation.totals import Scope, Totals
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.json_models import decode_model, encode_model
from ovrcoat.issues import Issue
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.input_files import REPORT, read_input
from ovrcoat.system.paths import is_folder, printable
from ovrcoat.vocabulary import Vocabulary

NAME = "partial.jsonl"
FORMAT: Final = "ovrcoat evaluation partial 1"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReportHead(_Model):
    """The part of a report that does not depend on the predictions.

    Attributes:
        model, data, protocol, vocabulary, seen_category_ids: see `EvaluationReport`.
        trusts: the values of γ.
        tasks: the tasks.
        areas: see `EvaluationSettings`.
        notes: what a reader must know before comparing the numbers with others.
    """

    model: ModelInfo
    data: DatasetInfo
    protocol: dict[str, JsonValue]
    vocabulary: dict[str, JsonValue]
    seen_category_ids: tuple[int, ...]
    trusts: tuple[TrustSetting, ...]
    tasks: tuple[str, ...]
    areas: Literal["json", "png"]
    notes: tuple[Issue, ...]

    def new_totals(self, *, keep_entries: bool = False) -> Totals:
        """Return totals without images; see `Totals`."""
        return Totals(
            Scope(
                categories=Vocabulary.from_dict(self.vocabulary).categories,
                seen_ids=frozenset(self.seen_category_ids),
                trusts=self.trusts,
                tasks=self.tasks,
                areas=self.areas,
            ),
            keep_entries=keep_entries,
        )

    def complete(
        self,
        totals: Totals,
        image_ids: Sequence[ImageId],
        *,
        truth: dict[str, Any],
        timing: dict[str, JsonValue],
    ) -> EvaluationReport:
        """Compute all numbers, and return the report.

        Args:
            totals: the results of all images.
            image_ids: the evaluated images in the order of the dataset.
            truth: their instances in COCO's format; empty without the instance task.
            timing: see `EvaluationReport`.

        Raises:
            DatasetError: the instance ground truth has errors.
        """
        runs = totals.runs(image_ids, truth)
        for note in self.notes:
            totals.issues.include(note)
        return EvaluationReport(
            model=self.model,
            data=self.data,
            protocol=self.protocol,
            vocabulary=self.vocabulary,
            seen_category_ids=self.seen_category_ids,
            runs=runs,
            images=tuple(totals.images[image_id] for image_id in image_ids),
            timing=timing,
            issues=tuple(totals.issues),
        )


class PartialHeader(_Model):
    """First line of a partial file.

    Attributes:
        format: format and its version.
        shard: (index, count), index from 1.
        image_count: images of all shards.
        facts: everything that the numbers of an image depend on; equal in all shards of a run.
        head: equal in all shards of a run.
        truth: instances of the evaluated images of this shard; empty without the instance task.
        timing: of this shard.
    """

    format: Literal["ovrcoat evaluation partial 1"] = FORMAT
    shard: tuple[int, int]
    image_count: int = Field(ge=1)
    facts: dict[str, JsonValue]
    head: ReportHead
    truth: dict[str, JsonValue] = {}
    timing: dict[str, JsonValue] = {}


class PartialImage(_Model):
    """One image of a partial file: its results, or why it was skipped.

    Attributes:
        position: of the image in the dataset, from 0.
        image_id: its id.
        entry: its results.
        skipped: the reason, if it could not be evaluated.
    """

    position: int
    image_id: ImageId
    entry: JournalEntry | None = None
    skipped: str = ""


class Partial(_Model):
    """The results of one shard."""

    header: PartialHeader
    images: tuple[PartialImage, ...]

    def write(self, folder: Path) -> Path:
        """Write the partial file of a folder; return its path.

        Raises:
            OutputError: it cannot be written.
        """
        path = folder / NAME
        lines = [encode_model(line, exclude_defaults=True) for line in self.images]
        content = b"\n".join([encode_model(self.header), *lines, b""])
        write_atomically(path, lambda file: file.write(content), durable=True)
        return path


def read_partial(path: Path) -> Partial:
    """Read and check a partial file, or that of a folder.

    Raises:
        DatasetError: it cannot be read, or is not a complete partial file.
    """
    path = path / NAME if is_folder(path) else path
    try:
        content = read_input(path, REPORT)
    except OSError as error:
        raise DatasetError(
            f"cannot read {printable(path)} ({error.strerror or error}): pass the output folders of "
            "evaluate --shard"
        ) from error
    lines = io.BytesIO(content)
    try:
        header = decode_model(PartialHeader, lines.readline())
        images = tuple(decode_model(PartialImage, line) for line in lines)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{path}: this is not a partial file of evaluate --shard, or it is damaged "
            f"({'.'.join(map(str, problem['loc'])) or 'line'}: {problem['msg']}); evaluate the shard again"
        ) from error
    index, count = header.shard
    expected = list(range(header.image_count))[index - 1 :: count] if 1 <= index <= count else None
    if [image.position for image in images] != expected:
        raise DatasetError(f"{path}: images are missing or in another order; evaluate the shard again")
    return Partial(header=header, images=images)


def merge_partials(paths: Sequence[Path]) -> EvaluationReport:
    """Return the report of all shards of one evaluation.

    Args:
        paths: one per shard, in any order.

    Raises:
        DatasetError: a file cannot be used, a shard is missing or given twice, or the shards belong to
            different evaluations.
    """
    partials = [read_partial(path) for path in paths]
    _check_one_run(partials, paths)
    first = partials[0].header
    totals = first.head.new_totals()
    images = sorted((image for partial in partials for image in partial.images), key=lambda i: i.position)
    evaluated = []
    for image in images:
        if image.entry is not None:
            totals.add(image.entry)
            evaluated.append(image.image_id)
        else:
            totals.skip(image.image_id, image.skipped)
    if not evaluated:
        raise DatasetError(f"no image of {first.head.data.name} could be evaluated")
    timing = {
        "seconds": round(_sum(partials, "seconds"), 2),
        "seconds_per_image": round(totals.seconds / len(evaluated), 4),
        "resumed_images": _sum(partials, "resumed_images"),
        "shards": len(partials),
    }
    truth = _merge_truth([partial.header.truth for partial in partials], evaluated)
    return first.head.complete(totals, evaluated, truth=truth, timing={**first.timing, **timing})


def _check_one_run(partials: Sequence[Partial], paths: Sequence[Path]) -> None:
    """Raise DatasetError unless the partial files are all shards of one evaluation."""
    first = partials[0].header
    for partial, path in zip(partials, paths, strict=True):
        header = partial.header
        different = [
            name for name in ("image_count", "head") if getattr(header, name) != getattr(first, name)
        ]
        different += [key for key in first.facts if header.facts.get(key) != first.facts[key]]
        if header.shard[1] != first.shard[1]:
            different.append("number of shards")
        if different:
            raise DatasetError(
                f"{paths[0]} and {path} belong to different evaluations (other {', '.join(different)}); "
                "evaluate all shards with the same command except --shard"
            )
    count = first.shard[1]
    indices = [partial.header.shard[0] for partial in partials]
    if missing := sorted(set(range(1, count + 1)) - set(indices)):
        raise DatasetError(f"the shard {missing[0]}/{count} is missing ({len(missing)} in all); add it")
    if len(indices) > count:
        twice = next(index for index in indices if indices.count(index) > 1)
        raise DatasetError(f"the shard {twice}/{count} is given twice; remove one")


def _sum(partials: Sequence[Partial], key: str) -> int | float:
    values = [partial.header.timing.get(key) for partial in partials]
    return sum(value for value in values if isinstance(value, int | float))


def _merge_truth(truths: Sequence[dict[str, Any]], image_ids: Sequence[ImageId]) -> dict[str, Any]:
    """Join instance ground truth in the order of the images.

    Datasets without instance files number the annotations of each shard from 1: those are numbered again.
    """
    if not truths[0]:
        return {}
    position = {image_id: index for index, image_id in enumerate(image_ids)}
    images = [image for truth in truths for image in truth["images"]]
    annotations = [annotation for truth in truths for annotation in truth["annotations"]]
    images.sort(key=lambda image: position[image["id"]])
    annotations.sort(key=lambda annotation: position[annotation["image_id"]])
    if len({annotation["id"] for annotation in annotations}) < len(annotations):
        annotations = [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)]
    return {"images": images, "annotations": annotations, "categories": truths[0]["categories"]}
