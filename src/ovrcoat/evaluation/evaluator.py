"""Evaluates a model on a dataset and returns a report.

Images take the same path as in `Segmenter.segment`, and each is encoded once. An image that cannot be used
does not stop the run; the report lists it among its issues. With a journal, an interrupted run resumes where
it stopped.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import ConfigError, DatasetError, ImageError
from ovrcoat.evaluation.image_scores import ImagePredictions, ImageScorer
from ovrcoat.evaluation.journal import Journal
from ovrcoat.evaluation.journal_entry import JournalEntry
from ovrcoat.evaluation.partial import Partial, PartialHeader, PartialImage, ReportHead
from ovrcoat.evaluation.plan import EvaluationPlan, EvaluationSettings, make_plan
from ovrcoat.evaluation.predictions import PredictionFolder
from ovrcoat.evaluation.prefetch import ReadError, Sample, load_sample, prefetch_samples
from ovrcoat.evaluation.reports.report import DatasetInfo, EvaluationReport, ModelInfo, trust_key
from ovrcoat.evaluation.totals import Totals
from ovrcoat.evaluation.training_overlap import add_training_overlap
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.issues import IssueList
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.prefetch import write_behind

MAX_UNSCORED = 2  # images that may wait to be scored
MAX_UNSCORED_BYTES = 256 * 2**20  # their memory


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    settings: EvaluationSettings | None = None,
    journal: Path | None = None,
    predictions: Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> EvaluationReport:
    """Evaluate a model on a dataset.

    Args:
        segmenter: The model.
        dataset: The dataset, see `ovrcoat.data.catalog.open_dataset`.
        settings: How to evaluate. None: the published protocol at γ 0 and 0.5.
        journal: File in which finished images are recorded. If it exists and belongs to an equal run, the run
            resumes. Images whose files have changed since, labels included, are evaluated again.
        predictions: Folder for the panoptic predictions in COCO format, see `predictions.py`.
        overwrite: Start over, even if the journal and the predictions exist.
        progress: Show a progress bar on a terminal.

    Returns:
        The report. Its `issues` list everything that you should know about the numbers.

    Raises:
        ConfigError: A setting is out of range or does not fit the dataset.
        VocabularyError: A vocabulary cannot be used.
        DatasetError: No image could be evaluated, or the instance ground truth has errors.
        OutputError: The journal or the predictions belong to a different run, or cannot be written.
        MissingExtraError: The instance task needs pycocotools, which is not installed.
    """
    started = time.perf_counter()
    plan = make_plan(segmenter, dataset, settings=settings or EvaluationSettings())
    if plan.settings.shard.count > 1:
        raise ConfigError("evaluate makes the report of all images; for one shard, use evaluate_shard")
    head = _report_head(plan)
    totals = head.new_totals()
    resumed = _evaluate(
        plan, totals, journal=journal, predictions=predictions, overwrite=overwrite, progress=progress
    )
    evaluated = _evaluated(plan, totals)
    return head.complete(
        totals,
        [record.image_id for record in evaluated],
        truth=_truth(plan, evaluated),
        timing=_timing(plan, totals, resumed=resumed, seconds=time.perf_counter() - started),
    )


def evaluate_shard(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    settings: EvaluationSettings,
    journal: Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Partial:
    """Evaluate a model on the shard of a dataset that `settings.shard` names.

    Arguments and errors are those of `evaluate`; a shard without images is not an error.

    Returns:
        The results of the images. `merge_partials` makes the report of all shards.
    """
    started = time.perf_counter()
    plan = make_plan(segmenter, dataset, settings=settings)
    head = _report_head(plan)
    totals = head.new_totals(keep_entries=True)
    resumed = _evaluate(
        plan, totals, journal=journal, predictions=None, overwrite=overwrite, progress=progress
    )
    shard = plan.settings.shard
    images = [
        PartialImage(
            position=position,
            image_id=record.image_id,
            entry=totals.entries.get(record.image_id),
            skipped=totals.skipped.get(record.image_id, ""),
        )
        for position, record in shard.select(list(enumerate(plan.records)))
    ]
    header = PartialHeader(
        shard=(shard.index, shard.count),
        image_count=len(plan.records),
        facts=plan.header(),
        head=head,
        truth=_truth(plan, _evaluated(plan, totals)),
        timing=_timing(plan, totals, resumed=resumed, seconds=time.perf_counter() - started),
    )
    return Partial(header=header, images=tuple(images))


def _evaluate(
    plan: EvaluationPlan,
    totals: Totals,
    *,
    journal: Path | None,
    predictions: Path | None,
    overwrite: bool,
    progress: bool,
) -> int:
    """Add the images of the plan's shard to `totals`; return how many an earlier run had finished."""
    _check_requirements(plan, saves_predictions=predictions is not None)
    with ExitStack() as stack:
        open_journal = None
        if journal is not None:
            open_journal = stack.enter_context(
                Journal(journal, plan.header(), entry_type=JournalEntry, overwrite=overwrite)
            )
            _resume(open_journal, plan, totals)
        resumed = len(totals.images)
        folders = {} if predictions is None else _open_folders(predictions, plan, totals, overwrite=overwrite)
        for folder in folders.values():
            stack.enter_context(folder)
        _evaluate_images(plan, totals, journal=open_journal, folders=folders, progress=progress)
        if not totals.images and plan.settings.shard.count == 1:
            reasons = "\n".join(f"- {issue}" for issue in totals.issues)
            raise DatasetError(f"no image of {plan.dataset.name} could be evaluated:\n{reasons}")
        for folder in folders.values():
            folder.complete(totals.images)
    return resumed


def _check_requirements(plan: EvaluationPlan, *, saves_predictions: bool) -> None:
    """Raise before the work what would otherwise fail after it."""
    if "instance" in plan.settings.tasks:
        import_optional("pycocotools.cocoeval", extra="coco")
    if saves_predictions and "panoptic" not in plan.settings.tasks:
        raise ConfigError(
            "predictions are saved for the task 'panoptic' only; add this task, or do not save predictions"
        )


def _open_folders(
    folder: Path, plan: EvaluationPlan, totals: Totals, *, overwrite: bool
) -> dict[str, PredictionFolder]:
    """Open one folder of predictions per γ, by `trust_key`."""
    return {
        trust_key(trust): PredictionFolder(
            folder,
            trust=trust,
            dataset=plan.dataset,
            header=plan.header(),
            done=totals.images,
            overwrite=overwrite,
        )
        for trust in plan.settings.trusts
    }


def _resume(journal: Journal[JournalEntry], plan: EvaluationPlan, totals: Totals) -> None:
    """Add the images of this run that an earlier run has finished, unless their files have changed."""
    planned = {record.image_id: record for record in plan.own_records}
    content: dict[ImageId, str] = {}
    for entry in journal.entries():
        if (record := planned.get(entry.image_id)) is None or record.image_id in totals.images:
            continue
        if record.image_id not in content:
            content[record.image_id] = plan.dataset.record_fingerprint(record)
        if entry.content == content[record.image_id]:
            totals.add(entry)
    for image_id in content:
        if image_id not in totals.images:
            totals.issues.add(
                "data-changed",
                "images or their labels have changed since the earlier run, so these images were evaluated "
                "again",
                example=f"{image_id}",
                severity="note",
            )


def _evaluate_images(
    plan: EvaluationPlan,
    totals: Totals,
    *,
    journal: Journal[JournalEntry] | None,
    folders: Mapping[str, PredictionFolder],
    progress: bool,
) -> None:
    """Evaluate the images that are not in `totals` yet."""
    scorer = ImageScorer(plan, folders)
    tasks, available = plan.settings.tasks, plan.dataset.tasks
    load = partial(
        load_sample,
        dataset=plan.dataset,
        panoptic="panoptic" in tasks or (plan.settings.oracle and "panoptic" in available),
        semantic="semantic" in tasks or (plan.settings.oracle and "panoptic" not in available),
    )
    remaining = [record for record in plan.own_records if record.image_id not in totals.images]
    done = len(plan.own_records) - len(remaining)
    with (
        tqdm(
            total=len(plan.own_records), initial=done, unit="image", disable=None if progress else True
        ) as progress_bar,
        closing(prefetch_samples(remaining, load)) as samples,
    ):

        def on_result(scored: tuple[Record, JournalEntry | ReadError]) -> None:
            record, result = scored
            if isinstance(result, JournalEntry):
                if journal is not None:
                    journal.append(result)
                totals.add(result)
            else:
                totals.skip(record.image_id, str(result))
            progress_bar.update()
            if not progress_bar.disable:
                running = {f"PQ γ={key}": f"{pq:.1f}" for key, pq in totals.running_pq().items()}
                progress_bar.set_postfix(running, refresh=False)

        write_behind(
            _predict(samples, scorer),
            partial(_score, scorer=scorer),
            name="score-behind",
            on_result=on_result,
            max_items=MAX_UNSCORED,
            size_of=lambda pair: pair[1].nbytes if isinstance(pair[1], ImagePredictions) else 0,
            max_bytes=MAX_UNSCORED_BYTES,
        )


def _predict(
    samples: Iterator[tuple[Record, Sample | ReadError]], scorer: ImageScorer
) -> Iterator[tuple[Record, ImagePredictions | ReadError]]:
    """Run the network on one image after the other; errors are passed on."""
    for record, sample in samples:
        try:
            predicted = scorer.predict(record, sample) if isinstance(sample, Sample) else sample
        except ImageError as error:  # its masks, if they come from files
            predicted = error
        yield record, predicted


def _score(
    predicted: tuple[Record, ImagePredictions | ReadError], *, scorer: ImageScorer
) -> tuple[Record, JournalEntry | ReadError]:
    """Score the predictions for one image; errors are passed on."""
    record, predictions = predicted
    if not isinstance(predictions, ImagePredictions):
        return record, predictions
    try:
        return record, scorer.score(predictions)
    except DatasetError as error:
        return record, error


def _evaluated(plan: EvaluationPlan, totals: Totals) -> list[Record]:
    """Return the evaluated images of the shard, in the order of the dataset."""
    return [record for record in plan.own_records if record.image_id in totals.images]


def _truth(plan: EvaluationPlan, records: Sequence[Record]) -> dict[str, Any]:
    """Return the instances of these images in COCO's format; nothing without the instance task."""
    return plan.dataset.instances(records) if "instance" in plan.settings.tasks else {}


def _timing(plan: EvaluationPlan, totals: Totals, *, resumed: int, seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 2),
        "seconds_per_image": round(totals.seconds / max(1, len(totals.images)), 4),
        "resumed_images": resumed,
        "device": str(plan.segmenter.device),
        "dtype": plan.dtype,
        "compiled": plan.segmenter.network.compiled,
        "torch": torch.__version__,
    }


def _report_head(plan: EvaluationPlan) -> ReportHead:
    """Return what the report says besides the numbers; the same for all shards."""
    dataset, settings = plan.dataset, plan.settings
    notes = IssueList()
    _add_notes(plan, notes)
    return ReportHead(
        model=ModelInfo(
            name=settings.model_name, hash=plan.model_hash, provenance=dict(plan.segmenter.provenance)
        ),
        data=DatasetInfo(
            name=dataset.name,
            split=dataset.split,
            images=len(dataset),
            fingerprint=dataset.fingerprint(),
        ),
        protocol=plan.protocol_settings(),
        vocabulary=plan.vocabulary.to_dict(),
        seen_category_ids=tuple(sorted(plan.seen_ids)),
        trusts=settings.trusts,
        tasks=settings.tasks,
        areas=settings.areas,
        notes=tuple(notes),
    )


def _add_notes(plan: EvaluationPlan, issues: IssueList) -> None:
    """Add what a reader must know before comparing the numbers with others."""
    settings, dataset = plan.settings, plan.dataset
    for issue in dataset.issues:
        issues.include(issue)
    if len(plan.records) < len(dataset):
        issues.add(
            "partial-dataset",
            "only some of the images were evaluated, so the numbers are not comparable to published ones",
            example=f"{len(plan.records)} of {len(dataset)}",
            severity="note",
        )
    if settings.oracle:
        issues.add(
            "oracle-vocabulary",
            "the vocabulary of each image was restricted to the categories in its ground truth (oracle), so "
            "the numbers are not comparable to those with the whole vocabulary",
            example=f"{len(plan.vocabulary)} categories in all",
            severity="note",
        )
    if plan.vocabulary.background:
        issues.add(
            "background-classes",
            "background classes were used; the published protocol has none (--background none)",
            example=f"{len(plan.vocabulary.background)} background classes",
            severity="note",
        )
    add_training_overlap(plan.segmenter.provenance, dataset, plan.records, issues)
    for issue in plan.vocabulary.lint():
        issues.add(
            "suspicious-vocabulary", "the vocabulary is suspicious", example=str(issue), severity="note"
        )
