"""Text branch: vocabulary and options are checked, and every class name is embedded. Needs no image."""

import math
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, TypedDict, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.choices import TASKS, Number, Task, Trust
from ovrcoat.config import InferenceConfig, ModelConfig
from ovrcoat.errors import ConfigError
from ovrcoat.issues import Issue
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.model.text_classifier import embed_categories
from ovrcoat.segmentation.mixed_embedder import Embedder
from ovrcoat.segmentation.text_cache import TextCache, fingerprint
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.system.process_lock import ProcessLock
from ovrcoat.vocabulary import Vocabulary, VocabularyInput
from ovrcoat.vocabulary.hints import find_model_hints

MAX_EMBEDDINGS = 50_000  # kept in memory: about 160 MB at 768 dimensions; the least recently used go first


class SegmentOptions(TypedDict, total=False):
    """Options of `Segmenter.segment` besides image, vocabulary and task."""

    trust: Trust | None
    background: object
    object_mask_threshold: Number | None
    overlap_threshold: Number | None
    score_threshold: Number | None


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationPrompt:
    """A checked and embedded vocabulary together with all options: everything but the image.

    Attributes:
        vocabulary: the categories, and the background classes that were chosen for them.
        embeddings: text embeddings of all class names.
        seen: which of `vocabulary.all_categories` the model was trained on.
        task: "panoptic", "semantic" or "instance".
        trust: COAT's γ, 0..1, or "adaptive".
        object_mask_threshold: minimum score of a mask, 0..1 (panoptic).
        overlap_threshold: minimum ratio of a mask's argmax area to its original area (panoptic).
        score_threshold: minimum score of an instance, 0..1 (instance). None: no threshold, and duplicates
            are kept.
        settings: the model's other inference settings.
        issues: what is suspicious about the vocabulary, for example a duplicate name.
    """

    vocabulary: Vocabulary
    embeddings: CategoryEmbeddings
    seen: Bool[Tensor, " category"]
    task: Task
    trust: float | Literal["adaptive"]
    object_mask_threshold: float
    overlap_threshold: float
    score_threshold: float | None
    settings: InferenceConfig
    issues: tuple[Issue, ...] = ()

    def warn(self) -> None:
        """Emit a `UserWarning` per issue except notes, attributed to the caller of the calling function."""
        for issue in self.issues:
            if issue.severity != "note":
                warnings.warn(str(issue), UserWarning, stacklevel=3)


class TextEmbedder:
    """Embeds class names, each name once; may be used from several threads.

    An embedding is looked up in memory, then in `cache`, which other processes share; otherwise it is
    computed.

    Args:
        network: its text weights must not change any more if there is a cache.
        config: the model's configuration; gives the prompt templates.
        known: embeddings that are known in advance, on the network's device.
        cache: the cache on disk. None: no cache.
        dtype: dtype of the matrix products. bfloat16 is twice as fast where the hardware supports it and
            slightly less accurate; norms, sums and the embeddings themselves are always float32.
    """

    def __init__(
        self,
        network: NamingNetwork,
        *,
        config: ModelConfig,
        known: Mapping[str, Float[Tensor, " embedding"]] | None = None,
        cache: TextCache | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._network = network
        self._config = config
        self._cache = cache
        self._dtype = dtype
        self._lock = ProcessLock()  # guards what follows, and the text tower
        self._known = dict(known or {})  # never dropped
        self._recent: OrderedDict[str, Tensor] = OrderedDict()

    def embed(self, vocabulary: Vocabulary) -> CategoryEmbeddings:
        """Check that every class name fits into the text encoder, and embed the vocabulary.

        Raises:
            VocabularyError: the vocabulary cannot be used.
        """
        with self._lock:
            names = list(
                dict.fromkeys(chain.from_iterable(category.names for category in vocabulary.all_categories))
            )
            found = self._look_up(names)
            vocabulary.check(lambda name: self._length(name, is_known=name in found))
            if missing := [name for name in names if name not in found]:
                found |= self._compute(missing)
            groups = [category.names for category in vocabulary.all_categories]
            return embed_categories(groups, found)

    def find_hints(self, vocabulary: Vocabulary) -> tuple[Issue, ...]:
        """Return warnings about names that the text encoder cannot represent, and missing alternatives."""
        with self._lock:
            return tuple(
                find_model_hints(vocabulary.categories, vocabulary.background, is_unknown=self._is_unknown)
            )

    def _is_unknown(self, name: str) -> bool:
        return name not in self._known and self._network.encoder.unknown_text(name)

    def _look_up(self, names: list[str]) -> dict[str, Tensor]:
        """Return the known embeddings, from memory or from the cache on disk."""
        found = {}
        for name in names:
            if name in self._known:
                found[name] = self._known[name]
            elif name in self._recent:
                self._recent.move_to_end(name)
                found[name] = self._recent[name]
        missing = [name for name in names if name not in found]
        if missing and self._cache is not None:
            device = self._network.encoder.device
            size = self._network.encoder.embedding_dim
            cached = self._cache.read(self._cache_key, missing, size=size)
            found |= self._remember({name: embedding.to(device) for name, embedding in cached.items()})
        return found

    @torch.inference_mode()
    def _compute(self, names: list[str]) -> dict[str, Tensor]:
        device = self._network.encoder.device.type
        with torch.autocast(device, dtype=self._dtype, enabled=self._dtype != torch.float32):
            computed = self._network.embed_names(names, self._config.templates).float()
        embeddings = dict(zip(names, computed, strict=True))
        if self._cache is not None:
            self._cache.write(self._cache_key, embeddings)
        return self._remember(embeddings)

    def _remember(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        self._recent |= embeddings
        while len(self._recent) > MAX_EMBEDDINGS:
            self._recent.popitem(last=False)
        return embeddings

    def _length(self, name: str, *, is_known: bool) -> tuple[int, int]:
        """Return the number of tokens of `name` and the number that fit into the text encoder."""
        if is_known:  # it fitted when it was embedded; the tokenizer need not be loaded
            return 0, 0
        tokens, limit = self._network.encoder.text_length(name)
        return tokens, limit - self._template_length

    @cached_property
    def _template_length(self) -> int:
        """Tokens that the longest template adds to a name."""
        text_length = self._network.encoder.text_length
        return max(text_length(template.replace("{}", ""))[0] for template in self._config.templates)

    @cached_property
    def _cache_key(self) -> str:
        """A fingerprint of everything but the name that an embedding depends on."""
        facts = {
            **self._config.encoder.model_dump(mode="json", include={"family", "name", "text"}),
            "templates": self._config.templates,
            "dtype": str(self._dtype),
        }
        tower = self._network.encoder.get_submodule("text_tower")  # the same name in every encoder family
        return fingerprint(tower, facts)


class PromptEncoder:
    """Turns a vocabulary and options into a `SegmentationPrompt`; may be used from several threads."""

    def __init__(self, embedder: Embedder, *, config: ModelConfig, training_vocabulary: Vocabulary) -> None:
        self._embedder = embedder
        self._settings = config.inference
        self._training_vocabulary = training_vocabulary

    def with_config(self, config: ModelConfig) -> "PromptEncoder":
        """Return an encoder with other inference settings that shares all text embeddings."""
        return PromptEncoder(self._embedder, config=config, training_vocabulary=self._training_vocabulary)

    def encode(
        self,
        vocabulary: object,
        *,
        task: Task = "panoptic",
        trust: Trust | None = None,
        background: object = "auto",
        object_mask_threshold: Number | None = None,
        overlap_threshold: Number | None = None,
        score_threshold: Number | None = None,
    ) -> SegmentationPrompt:
        """Check and embed the vocabulary, and check the options; see `Segmenter.segment`.

        Raises:
            VocabularyError: the vocabulary cannot be used.
            ConfigError: an option does not exist, is out of range, or does not apply to the task.
        """
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}; choose one of {', '.join(TASKS)}")
        if task != "panoptic" and (object_mask_threshold is not None or overlap_threshold is not None):
            raise ConfigError(
                "object_mask_threshold and overlap_threshold apply to task 'panoptic', not to "
                f"{task!r}; leave them out"
            )
        if task != "instance" and score_threshold is not None:
            raise ConfigError(f"score_threshold applies to task 'instance', not to {task!r}; leave it out")
        settings = self._settings
        requested = Vocabulary.read(cast("VocabularyInput", vocabulary))
        complete = requested.with_background(cast("VocabularyInput", background))
        embeddings = self._embedder.embed(complete)
        seen = complete.seen_in(self._training_vocabulary)
        return SegmentationPrompt(
            vocabulary=complete,
            embeddings=embeddings,
            seen=torch.tensor(seen, device=embeddings.in_vocab.device),
            task=task,
            trust=_checked_trust(trust, task=task, default=settings.trust),
            object_mask_threshold=_in_range(
                "object_mask_threshold", object_mask_threshold, default=settings.object_mask_threshold
            ),
            # a mask can win more pixels than it covers, so ratios above 1 exist
            overlap_threshold=_in_range(
                "overlap_threshold", overlap_threshold, default=settings.overlap_threshold, maximum=math.inf
            ),
            score_threshold=(
                None
                if score_threshold is None
                else _in_range("score_threshold", score_threshold, default=0.0)
            ),
            settings=settings,
            issues=(*complete.lint(), *self._embedder.find_hints(complete)),
        )


def _checked_trust(
    trust: float | int | str | None, *, task: Task, default: Trust
) -> float | Literal["adaptive"]:
    """Return γ; by default that of the model, and 0 for semantic output.

    Semantic output rejects no mask that COAT could rescue; the paper finds that COAT lowers it slightly.
    """
    if trust is None:
        trust = 0.0 if task == "semantic" else default
    if isinstance(trust, str):
        if trust != "adaptive":
            raise ConfigError(f"trust is {trust!r}, expected a number from 0 to 1, or 'adaptive'")
        return "adaptive"
    return _in_range("trust", trust, default=0.0)


def _in_range(name: str, value: Number | None, *, default: float, maximum: float = 1.0) -> float:
    """Return an option after checking that it is in 0..`maximum`; `default` if it is None."""
    if value is None:
        return default
    if not 0 <= value <= maximum:  # also false for NaN
        bounds = "0 or more" if maximum == math.inf else f"0 to {maximum:g}"
        raise ConfigError(f"{name} is {value}, expected {bounds}")
    return float(value)
