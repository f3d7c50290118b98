"""What an evaluation asks: settings as a user gives them, checked and completed for model and data set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ovrcoat._version import __version__
from ovrcoat.config import TASKS, Trust
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import ConfigError, DatasetError, VocabularyError
from ovrcoat.evaluation.protocols import Protocol, ProtocolChoice, choose_protocol
from ovrcoat.evaluation.reports.report import trust_key
from ovrcoat.formats.annotations import Record
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Category, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate. The defaults are the published protocol, with COAT and without.

    Attributes:
        trusts: COAT's γ, each 0..1 or "adaptive"; every image is encoded once for all of them.
        tasks: "panoptic", "semantic", "instance".
        vocabulary: names to ask the categories by, in place of the data set's own: anything that
            `Vocabulary.read` takes. Categories are matched by their first name, or by their ids if these are
            exactly the data set's; those that are not named keep their names.
        background: background classes, as for `Segmenter.segment`; the published protocol has none.
        oracle: ask each image only for the categories that are in its truth (FC-CLIP's grounding protocol).
        seen: a vocabulary; categories that share a name with it are reported as seen. None: the model's
            training vocabulary. It changes no prediction.
        areas: areas of true segments as the JSON says ("json", as published numbers have it) or recounted
            from the pixels ("png").
        held_out: only the images that a training with this `held_out` share never saw. None: all.
        limit: only the first so many images (of these). None: all.
        protocol, short_side, max_long_side: the test size, see `protocols.choose_protocol`.
        model_name: what the report calls the model.
    """

    trusts: tuple[Trust, ...] = (0.0, 0.5)
    tasks: tuple[str, ...] = ("panoptic",)
    vocabulary: object = None
    background: object = "none"
    oracle: bool = False
    seen: object = None
    areas: Literal["json", "png"] = "json"
    held_out: float | None = None
    limit: int | None = None
    protocol: ProtocolChoice = "auto"
    short_side: int | None = None
    max_long_side: int | None = None
    model_name: str = "model"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Settings after all checks.

    Attributes:
        segmenter: with the protocol's test size.
        vocabulary: the data set's categories (ids, kinds) with the names to ask them by, and background classes.
        seen_ids: categories to report as seen.
        records: the images to evaluate.
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
    def dtype(self) -> str:
        """What masks and features are computed in, such as "float32"."""
        return str(self.segmenter.network.image_dtype).removeprefix("torch.")

    def header(self) -> dict[str, Any]:
        """All that the numbers of one image depend on, in a form that JSON can hold."""
        return {
            "ovrcoat": __version__,
            "torch": torch.__version__,
            "device": self.segmenter.device.type,
            "dtype": self.dtype,
            "compiled": self.segmenter.network.compiled,
            "model_hash": self.model_hash,
            "data": {
                "name": self.dataset.name,
                "split": self.dataset.split,
                "fingerprint": self.dataset.fingerprint(),
            },
            "trusts": [trust_key(trust) for trust in self.settings.trusts],
            "tasks": list(self.settings.tasks),
            "inference": self.inference(),
            "vocabulary": self.vocabulary.to_dict(),
            "oracle": self.settings.oracle,
            "areas": self.settings.areas,
        }

    def inference(self) -> dict[str, Any]:
        """The model's settings at test time; γ is not among them, each run has its own."""
        return self.segmenter.config.inference.model_dump(mode="json", exclude={"trust"})

    def facts(self) -> dict[str, Any]:
        """The report's `protocol`."""
        settings = self.settings
        own_words = isinstance(settings.background, str)
        return {
            "test_size": self.protocol.name,
            "test_size_source": self.protocol.source,
            **self.inference(),
            "tasks": list(settings.tasks),
            "background": settings.background if own_words else "own words",
            "oracle": settings.oracle,
            "areas": settings.areas,
            "held_out": settings.held_out,
            "limit": settings.limit,
            "own_names": settings.vocabulary is not None,
            "seen": "training vocabulary of the model" if settings.seen is None else str(settings.seen),
        }


def make_plan(segmenter: Segmenter, dataset: Dataset, *, settings: EvaluationSettings) -> Plan:
    """Check and complete `settings`.

    Raises:
        ConfigError: a setting is out of range, or the data set has no truth for a task.
        VocabularyError: words cannot be used, or fit no category of the data set.
        DatasetError: the data set has no photos.
    """
    own = segmenter.config.inference
    protocol = choose_protocol(
        settings.protocol,
        dataset=dataset.name,
        family=segmenter.config.encoder.family,
        own_size=(own.short_side, own.max_long_side),
        short_side=settings.short_side,
        max_long_side=settings.max_long_side,
    )
    settings = replace(
        settings,
        trusts=_checked_trusts(settings.trusts),
        tasks=_checked_tasks(settings, dataset),
    )
    vocabulary = renamed(dataset.vocabulary, settings.vocabulary).with_background(settings.background)
    vocabulary.check()
    training = segmenter.training_vocabulary if settings.seen is None else Vocabulary.read(settings.seen)
    seen = vocabulary.seen_in(training)[: len(vocabulary)]
    return Plan(
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
        records=_chosen(dataset, settings),
        model_hash=model_hash(segmenter),
    )


def renamed(own: Vocabulary, words: object) -> Vocabulary:
    """The data set's vocabulary with the names of `words` (None: its own names); ids and kinds stay.

    Raises:
        VocabularyError: `words` cannot be read, or one of its categories is none of the data set's.
    """
    if words is None:
        return own
    given = Vocabulary.read(words)
    by_name = {category.name: category for category in own.categories}
    by_id = {category.id: category for category in own.categories}
    unknown = [category.name for category in given.categories if category.name not in by_name]
    names = [category.name for category in given.categories]
    if not unknown and len(by_name) == len(own) and len(set(names)) == len(names):
        names_of = {by_name[category.name].id: category.names for category in given.categories}
    elif {category.id for category in given.categories} == by_id.keys() and len(given) == len(own):
        names_of = {category.id: category.names for category in given.categories}
    else:
        examples = ", ".join(map(repr, unknown[:3]))
        raise VocabularyError(
            f"the words do not fit the data set {own.name}: {len(unknown)} of {len(given)} categories have "
            f"a first name that is none of its {len(own)}, e.g. {examples}, and their ids are not "
            "exactly its ids; begin each category with the data set's own name, or give a .json file with "
            "its ids"
        )
    categories = tuple(replace(c, names=names_of.get(c.id, c.names)) for c in own.categories)
    return replace(own, categories=categories, background=given.background, repeats=given.repeats)


def present_only(vocabulary: Vocabulary, category_ids: frozenset[int]) -> Vocabulary:
    """The oracle's vocabulary: only these categories; background classes stay."""
    kept = tuple(category for category in vocabulary.categories if category.id in category_ids)
    return replace(vocabulary, categories=kept)


def positions(categories: Sequence[Category]) -> dict[int, int]:
    """Category id → place."""
    return {category.id: place for place, category in enumerate(categories)}


def model_hash(segmenter: Segmenter) -> str:
    """SHA-256 of the weights, the network's configuration and the training vocabulary.

    Settings of inference are left out: a report tells them apart. It does not depend on how files are cut.
    """
    digest = hashlib.sha256()
    config = segmenter.config.model_dump(mode="json", exclude={"inference"})
    training = segmenter.training_vocabulary.to_dict()
    digest.update(json.dumps([config, training], sort_keys=True).encode())
    for name, tensor in sorted(segmenter.network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _checked_trusts(trusts: Sequence[Trust]) -> tuple[Trust, ...]:
    if not trusts:
        raise ConfigError("no γ was given; give at least one, such as 0 or 0.5")
    for trust in trusts:
        # written so that NaN fails too
        if not (trust == "adaptive" if isinstance(trust, str) else 0 <= trust <= 1):
            raise ConfigError(f"γ (trust) is {trust}, expected 0 to 1, or adaptive")
    return tuple({trust_key(t): t if isinstance(t, str) else float(t) for t in trusts}.values())


def _checked_tasks(settings: EvaluationSettings, dataset: Dataset) -> tuple[str, ...]:
    """The tasks, none twice."""
    for task in settings.tasks:
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}; choose among {', '.join(TASKS)}")
    missing = [task for task in settings.tasks if task not in dataset.tasks]
    if missing or not settings.tasks:
        raise ConfigError(
            f"the data set {dataset.name} has a truth for {', '.join(sorted(dataset.tasks))}, but asked was "
            f"for {', '.join(missing) or 'no task at all'}; choose among what there is"
        )
    if settings.oracle and dataset.tasks.isdisjoint({"panoptic", "semantic"}):
        raise ConfigError(
            f"the data set {dataset.name} has only instances: nobody knows all categories of an image, which "
            "the oracle protocol needs; leave it out"
        )
    return tuple(dict.fromkeys(settings.tasks))


def _chosen(dataset: Dataset, settings: EvaluationSettings) -> tuple[Record, ...]:
    """The images to evaluate."""
    share, limit = settings.held_out, settings.limit
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected 1 or more images")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"held_out is {share}, expected a share above 0 and up to 1, as in training")
    kept = [record for record in dataset.records if share is None or is_held_out(record.image, share)]
    if not kept:
        held = "" if share is None else f" held out at a share of {share}"
        raise DatasetError(
            f"the data set {dataset.name} has no labelled images{held}; there is nothing to evaluate"
        )
    return tuple(kept[:limit])
