"""Evaluation settings, and the evaluation plan: settings checked and completed for a model and a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ovrcoat._version import __version__
from ovrcoat.choices import TASKS, Trust
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import ConfigError, DatasetError, VocabularyError
from ovrcoat.evaluation.protocols import Protocol, ProtocolChoice, choose_protocol
from ovrcoat.evaluation.reports.report import trust_key
from ovrcoat.formats.annotations import Record
from ovrcoat.model.mixed_network import mask_network
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.system.shard import Shard
from ovrcoat.vocabulary import Category, Vocabulary, VocabularyInput


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate. The defaults are the published protocol, with and without COAT.

    Attributes:
        trusts: COAT's γ: numbers from 0 to 1, or "adaptive". Each image is encoded once for all of them.
        tasks: "panoptic", "semantic", "instance".
        vocabulary: Other names for the dataset's categories, in any form that `Vocabulary.read` accepts.
            Categories are matched by their first name, or by id if the ids are exactly those of the dataset.
            Categories that are not listed keep their names.
        background: Background classes, as in `Segmenter.segment`. The published protocol has none.
        oracle: Restrict the vocabulary of each image to the categories in its ground truth (FC-CLIP's
            grounding protocol).
        seen: Categories that share a name with this vocabulary are reported as seen. None: the training
            vocabulary of the model. Predictions do not depend on it.
        areas: Areas of ground-truth segments: "json" uses those in the JSON, as published numbers do; "png"
            counts them from the pixels.
        held_out: Evaluate only the images that a training run with this `held_out` share never used. None:
            all.
        limit: Evaluate only the first `limit` (of these) images. None: all.
        protocol: Test size, see `choose_protocol`.
        short_side: Custom short side in pixels.
        max_long_side: Custom maximum long side in pixels.
        model_name: Name of the model in the report.
        shard: Evaluate only this share of the images; the report is made of all shards later.
    """

    trusts: tuple[Trust, ...] = (0.0, 0.5)
    tasks: tuple[str, ...] = ("panoptic",)
    vocabulary: VocabularyInput | None = None
    background: VocabularyInput = "none"
    oracle: bool = False
    seen: VocabularyInput | None = None
    areas: Literal["json", "png"] = "json"
    held_out: float | None = None
    limit: int | None = None
    protocol: ProtocolChoice = "auto"
    short_side: int | None = None
    max_long_side: int | None = None
    model_name: str = "model"
    shard: Shard = Shard()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationPlan:
    """Everything that an evaluation needs, checked and completed.

    Attributes:
        segmenter: The model with the test resolution of the protocol.
        dataset: The dataset.
        settings: The settings, without duplicate tasks and γ.
        protocol: The test resolution.
        vocabulary: The categories of the dataset (ids, things and stuff) with the names to use, and the
            background classes.
        seen_ids: Categories to report as seen.
        records: The images to evaluate, of all shards.
        model_hash: See `model_hash`.
    """

    segmenter: Segmenter
    dataset: Dataset
    settings: EvaluationSettings
    protocol: Protocol
    vocabulary: Vocabulary
    seen_ids: frozenset[int]
    records: tuple[Record, ...]
    model_hash: str

    @property
    def own_records(self) -> Sequence[Record]:
        """The images of the shard."""
        return self.settings.shard.select(self.records)

    @property
    def dtype(self) -> str:
        """Dtype of masks and features, for example "float32"."""
        return str(self.segmenter.network.image_dtype).removeprefix("torch.")

    def header(self) -> dict[str, Any]:
        """Return everything that the numbers of an image depend on besides its files, JSON-serializable."""
        return {
            "ovrcoat": __version__,
            "torch": torch.__version__,
            "device": self.segmenter.device.type,
            "dtype": self.dtype,
            "compiled": self.segmenter.network.compiled,
            "model_hash": self.model_hash,
            # Images and labels are compared one by one, see JournalEntry.content. The name of a folder is
            # left out, so that a dataset can be moved and renamed.
            "data": {
                "split": self.dataset.split,
                "categories_fingerprint": self.dataset.schema_fingerprint(),
            },
            "trusts": [trust_key(trust) for trust in self.settings.trusts],
            "tasks": list(self.settings.tasks),
            "inference": self.inference_settings(),
            "vocabulary": self.vocabulary.to_dict() | {"name": None},
            "oracle": self.settings.oracle,
            "areas": self.settings.areas,
        }

    def inference_settings(self) -> dict[str, Any]:
        """Return the inference settings of the model, without γ, which differs between runs."""
        return self.segmenter.config.inference.model_dump(mode="json", exclude={"trust"})

    def protocol_settings(self) -> dict[str, Any]:
        """Return the settings that the report lists, JSON-serializable."""
        settings = self.settings
        return {
            "test_size": self.protocol.name,
            "test_size_source": self.protocol.source,
            **self.inference_settings(),
            "tasks": list(settings.tasks),
            "background": settings.background if isinstance(settings.background, str) else "custom",
            "oracle": settings.oracle,
            "areas": settings.areas,
            "held_out": settings.held_out,
            "limit": settings.limit,
            "custom_names": settings.vocabulary is not None,
            "seen": "training vocabulary of the model" if settings.seen is None else str(settings.seen),
        }


def make_plan(segmenter: Segmenter, dataset: Dataset, *, settings: EvaluationSettings) -> EvaluationPlan:
    """Check the settings and complete them for a model and a dataset.

    Raises:
        ConfigError: A setting is out of range, or the dataset has no ground truth for a task.
        VocabularyError: A vocabulary cannot be used, or does not match the dataset.
        DatasetError: There are no images to evaluate.
    """
    inference = segmenter.config.inference
    protocol = choose_protocol(
        settings.protocol,
        dataset=dataset.name,
        fits_published_sizes=mask_network(segmenter.network).fits_published_sizes,
        model_size=(inference.short_side, inference.max_long_side),
        short_side=settings.short_side,
        max_long_side=settings.max_long_side,
    )
    settings = replace(
        settings,
        trusts=_checked_trusts(settings.trusts),
        tasks=_checked_tasks(settings, dataset),
    )
    vocabulary = rename_categories(dataset.vocabulary, settings.vocabulary).with_background(
        settings.background
    )
    vocabulary.check()
    training = segmenter.training_vocabulary if settings.seen is None else Vocabulary.read(settings.seen)
    seen = vocabulary.seen_in(training)[: len(vocabulary)]
    return EvaluationPlan(
        segmenter=segmenter.with_settings(
            short_side=protocol.short_side, max_long_side=protocol.max_long_side
        ),
        dataset=dataset,
        settings=settings,
        protocol=protocol,
        vocabulary=vocabulary,
        seen_ids=frozenset(
            category.id for category, is_seen in zip(vocabulary.categories, seen, strict=True) if is_seen
        ),
        records=_select_records(dataset, settings),
        model_hash=model_hash(segmenter),
    )


def rename_categories(original: Vocabulary, names: VocabularyInput | None) -> Vocabulary:
    """Return the vocabulary of a dataset with other names. Ids, things and stuff remain unchanged.

    Args:
        original: Vocabulary of the dataset.
        names: See `EvaluationSettings.vocabulary`; None keeps all names.

    Raises:
        VocabularyError: `names` cannot be read, or one of its categories does not match the dataset.
    """
    if names is None:
        return original
    given = Vocabulary.read(names)
    by_name = {category.name: category for category in original.categories}
    by_id = {category.id: category for category in original.categories}
    unknown = [category.name for category in given.categories if category.name not in by_name]
    first_names = [category.name for category in given.categories]
    is_unique = len(by_name) == len(original) and len(set(first_names)) == len(first_names)
    if not unknown and is_unique:
        names_of = {by_name[category.name].id: category.names for category in given.categories}
    elif {category.id for category in given.categories} == by_id.keys() and len(given) == len(original):
        names_of = {category.id: category.names for category in given.categories}
    else:
        examples = ", ".join(map(repr, unknown[:3]))
        raise VocabularyError(
            f"the vocabulary does not match the dataset {original.name}: {len(unknown)} of {len(given)} "
            f"categories have a first name that is none of its {len(original)} names, for example "
            f"{examples}, and their ids are not exactly its ids; begin each category with the name in the "
            "dataset, or use a .json file with the ids of the dataset"
        )
    categories = tuple(replace(c, names=names_of.get(c.id, c.names)) for c in original.categories)
    return replace(
        original,
        categories=categories,
        background=given.background,
        repeats=given.repeats,
        changes=given.changes,
        skipped=given.skipped,
    )


def restrict_to(vocabulary: Vocabulary, category_ids: frozenset[int]) -> Vocabulary:
    """Return a vocabulary with only these categories; background classes are kept."""
    kept = tuple(category for category in vocabulary.categories if category.id in category_ids)
    return replace(vocabulary, categories=kept)


def category_indices(categories: Sequence[Category]) -> dict[int, int]:
    """Return the index of each category by its id."""
    return {category.id: index for index, category in enumerate(categories)}


def model_hash(segmenter: Segmenter) -> str:
    """Return a fingerprint of weights, configuration, training vocabulary, and masks from files.

    Inference settings are excluded, because the report lists them. The hash does not depend on the file
    layout.
    """
    config = segmenter.config.model_dump(mode="json", exclude={"inference"})
    training = segmenter.training_vocabulary.to_dict()
    files = [] if segmenter.mask_files is None else [segmenter.mask_files.fingerprint()]
    return module_fingerprint(segmenter.network, [config, training, *files])


def _checked_trusts(trusts: Sequence[Trust]) -> tuple[Trust, ...]:
    """Return the γ without duplicates."""
    if not trusts:
        raise ConfigError("no γ (trust) was specified, expected at least one, for example 0 or 0.5")
    for trust in trusts:
        # also true for NaN
        if not (trust == "adaptive" if isinstance(trust, str) else 0 <= trust <= 1):
            raise ConfigError(f"γ (trust) is {trust}, expected a number from 0 to 1, or adaptive")
    return tuple({trust_key(t): t if isinstance(t, str) else float(t) for t in trusts}.values())


def _checked_tasks(settings: EvaluationSettings, dataset: Dataset) -> tuple[str, ...]:
    """Return the tasks without duplicates."""
    for task in settings.tasks:
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    available = ", ".join(sorted(dataset.tasks))
    if not settings.tasks:
        raise ConfigError(f"no task was specified; choose from {available}")
    if missing := [task for task in settings.tasks if task not in dataset.tasks]:
        raise ConfigError(
            f"the dataset {dataset.name} has ground truth for {available}, but not for {', '.join(missing)}; "
            "choose other tasks"
        )
    if settings.oracle and dataset.tasks.isdisjoint({"panoptic", "semantic"}):
        raise ConfigError(
            f"the dataset {dataset.name} has only instance ground truth, which does not list all categories "
            "of an image; the oracle protocol needs them, so do not use it"
        )
    return tuple(dict.fromkeys(settings.tasks))


def _select_records(dataset: Dataset, settings: EvaluationSettings) -> tuple[Record, ...]:
    """Return the images to evaluate."""
    share, limit = settings.held_out, settings.limit
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected 1 or more images")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"held_out is {share}, expected a share above 0 and up to 1, as in training")
    selected = [record for record in dataset.records if share is None or is_held_out(record.image, share)]
    if not selected:
        condition = "" if share is None else f" that are held out at a share of {share}"
        raise DatasetError(
            f"the dataset {dataset.name} has no labeled images{condition}; there is nothing to evaluate"
        )
    return tuple(selected[:limit])
