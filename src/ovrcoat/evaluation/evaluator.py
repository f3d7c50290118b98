"""A model and a data set in, a report out. The images go the way of `segment`; each is encoded once.

An image that cannot be used never stops a run and never goes unnoticed: the report has it among its findings.
With a journal an interrupted run goes on where it stopped.
"""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import ConfigError, DatasetError
from ovrcoat.evaluation.image_scores import ImagePredictions, ImageScorer
from ovrcoat.evaluation.journal import Entry, Journal
from ovrcoat.evaluation.plan import EvaluationSettings, Plan, make_plan
from ovrcoat.evaluation.predictions import PredictionFolder
from ovrcoat.evaluation.prefetch import Sample, Unreadable, load_sample, prefetch_samples
from ovrcoat.evaluation.reports.report import DataFacts, EvaluationReport, ModelFacts, trust_key
from ovrcoat.evaluation.totals import Totals
from ovrcoat.formats.annotations import Record
from ovrcoat.issues import IssueList
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.prefetch import write_behind

BEHIND = 2  # images that have answers and may wait to be scored
BEHIND_BYTES = 256 * 2**20  # and what they may take


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
    """Evaluate a model on a data set.

    Args:
        segmenter: the model.
        dataset: see `data.catalog.open_dataset`.
        settings: None is the published protocol, with γ 0 and 0.5.
        journal: file to note finished images in; if it is there, an equal run goes on with it.
        predictions: folder for panoptic predictions in COCO's form, see predictions.py.
        overwrite: start anew, whatever journal and predictions are there.
        progress: show a bar (on a terminal).

    Raises:
        ConfigError: a setting is out of range or does not fit the data set.
        VocabularyError: the words cannot be used.
        DatasetError: no image could be evaluated, or the truth of instances is faulty.
        OutputError: journal or predictions belong to another run, or cannot be written.
        MissingExtraError: instances need pycocotools, which is not installed.
    """
    started = time.perf_counter()
    plan = make_plan(segmenter, dataset, settings=settings or EvaluationSettings())
    if "instance" in plan.settings.tasks:
        import_optional("pycocotools.cocoeval", extra="coco")  # better known before the work than after it
    if predictions is not None and "panoptic" not in plan.settings.tasks:
        raise ConfigError("predictions are saved for the task 'panoptic' only; ask for it, or save none")
    totals = Totals(plan)
    header = plan.header()
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, header, overwrite=overwrite)) if journal else None
        if book is not None:
            _take_over(book, plan, totals)
        resumed = len(totals.images)
        folders = {}
        if predictions is not None:
            for trust in plan.settings.trusts:
                folder = PredictionFolder(
                    predictions,
                    trust=trust,
                    dataset=dataset,
                    header=header,
                    done=totals.images,
                    overwrite=overwrite,
                )
                folders[trust_key(trust)] = stack.enter_context(folder)
        _work(plan, totals, book=book, folders=folders, progress=progress)
        if not totals.images:
            reasons = "\n".join(f"- {issue}" for issue in totals.issues)
            raise DatasetError(f"no photo of {dataset.name} could be evaluated:\n{reasons}")
        for folder in folders.values():
            folder.complete(totals.images)
    return _report(plan, totals, resumed=resumed, seconds=time.perf_counter() - started)


def _take_over(book: Journal, plan: Plan, totals: Totals) -> None:
    """Count the images that an earlier run has finished, as far as this one asks for them."""
    wanted = {record.image_id for record in plan.records}
    for entry in book.entries():
        if entry["image_id"] in wanted and entry["image_id"] not in totals.images:
            totals.add(entry)


def _work(
    plan: Plan,
    totals: Totals,
    *,
    book: Journal | None,
    folders: Mapping[str, PredictionFolder],
    progress: bool,
) -> None:
    """Evaluate the images that are not in `totals` yet."""
    scorer = ImageScorer(plan, folders)
    tasks, truths = plan.settings.tasks, plan.dataset.tasks
    load = partial(
        load_sample,
        dataset=plan.dataset,
        panoptic="panoptic" in tasks or (plan.settings.oracle and "panoptic" in truths),
        semantic="semantic" in tasks or (plan.settings.oracle and "panoptic" not in truths),
    )
    todo = [record for record in plan.records if record.image_id not in totals.images]
    done = len(plan.records) - len(todo)
    with (
        warnings.catch_warnings(),
        tqdm(
            total=len(plan.records), initial=done, unit="image", disable=None if progress else True
        ) as progress_bar,
        # closed before the warnings are as they were: its thread must not meddle with them any more
        closing(prefetch_samples(todo, load)) as samples,
    ):
        warnings.simplefilter("ignore", UserWarning)  # doubts about the words: the report has them, once

        def note(scored: tuple[Record, Entry | Unreadable]) -> None:
            record, entry = scored
            if isinstance(entry, Unreadable):
                totals.leave_out(record, entry.reason)
            else:
                if book is not None:
                    book.append(entry)
                totals.add(entry)
            progress_bar.update()
            if not progress_bar.disable:
                running = {f"PQ γ={key}": f"{pq:.1f}" for key, pq in totals.running_pq().items()}
                progress_bar.set_postfix(running, refresh=False)

        write_behind(
            _answered(samples, scorer),
            partial(_scored, scorer=scorer),
            name="score-behind",
            tell=note,
            most=BEHIND,
            size_of=lambda pair: pair[1].nbytes if isinstance(pair[1], ImagePredictions) else 0,
            most_bytes=BEHIND_BYTES,
        )


def _answered(
    samples: Iterator[tuple[Record, Sample | Unreadable]], scorer: ImageScorer
) -> Iterator[tuple[Record, ImagePredictions | Unreadable]]:
    """Let the network answer image after photo."""
    for record, sample in samples:
        try:
            yield record, sample if isinstance(sample, Unreadable) else scorer.ask(record, sample)
        except DatasetError as error:
            yield record, Unreadable(str(error))


def _scored(
    answered: tuple[Record, ImagePredictions | Unreadable], *, scorer: ImageScorer
) -> tuple[Record, Entry | Unreadable]:
    """Compare one image's answers with the truth."""
    record, answers = answered
    try:
        return record, answers if isinstance(answers, Unreadable) else scorer.score(answers)
    except DatasetError as error:
        return record, Unreadable(str(error))


def _report(plan: Plan, totals: Totals, *, resumed: int, seconds: float) -> EvaluationReport:
    """All numbers, in the order of the data set."""
    evaluated = [record for record in plan.records if record.image_id in totals.images]
    runs = totals.runs(evaluated)
    dataset, settings = plan.dataset, plan.settings
    _add_notes(plan, totals.issues)
    return EvaluationReport(
        model=ModelFacts(
            name=settings.model_name, hash=plan.model_hash, provenance=dict(plan.segmenter.provenance)
        ),
        data=DataFacts(
            name=dataset.name,
            split=dataset.split,
            images=len(dataset),
            fingerprint=dataset.fingerprint(),
        ),
        protocol=plan.facts(),
        vocabulary=plan.vocabulary.to_dict(),
        seen_category_ids=tuple(sorted(plan.seen_ids)),
        runs=runs,
        images=tuple(totals.images[record.image_id] for record in evaluated),
        timing={
            "seconds": round(seconds, 2),
            "seconds_per_image": round(totals.seconds / len(evaluated), 4),
            "images_of_an_earlier_run": resumed,
            "device": str(plan.segmenter.device),
            "dtype": plan.dtype,
            "compiled": plan.segmenter.network.compiled,
            "torch": torch.__version__,
        },
        issues=tuple(totals.issues),
    )


def _add_notes(plan: Plan, issues: IssueList) -> None:
    """What a reader must know before comparing the numbers with others."""
    settings, dataset = plan.settings, plan.dataset
    if len(plan.records) < len(dataset):
        issues.add(
            "some-images-only",
            "only some of the images were evaluated: no number here can be compared with a published one",
            example=f"{len(plan.records)} of {len(dataset)}",
            severity="note",
        )
    if settings.oracle:
        issues.add(
            "oracle-vocabulary",
            "each image was asked only for the categories in its truth (oracle): not to be compared with "
            "numbers of the whole vocabulary",
            example=f"{len(plan.vocabulary)} categories in all",
            severity="note",
        )
    if plan.vocabulary.background:
        issues.add(
            "background-classes",
            "background classes took part; the published protocol has none (background none)",
            example=f"{len(plan.vocabulary.background)} words",
            severity="note",
        )
    for problem in plan.vocabulary.lint():
        issues.add(
            "suspicious-vocabulary", "the words are doubtful", example=problem.message, severity="note"
        )
