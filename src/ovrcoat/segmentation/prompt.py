"""The words' half of a segmentation: vocabulary and options, checked, and every name in text space.

Needs no photo. `segmenter.py` answers the question for as many images as there are.
"""

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.config import TASKS, ModelConfig, Number, Task, Trust
from ovrcoat.errors import ConfigError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import embed_categories
from ovrcoat.segmentation.text_cache import TextCache, fingerprint
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.vocabulary import Vocabulary


class SegmentOptions(TypedDict, total=False):
    """What `Segmenter.segment` takes beside image, words and task."""

    trust: Trust | None
    background: object
    object_mask_threshold: Number | None
    overlap_threshold: Number | None


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationPrompt:
    """A checked vocabulary in text space, and how to answer it."""

    vocabulary: Vocabulary
    embeddings: CategoryEmbeddings
    seen: Bool[Tensor, " category"]
    task: Task
    trust: float | Literal["adaptive"]
    object_mask_threshold: float
    overlap_threshold: float


class PromptEncoder:
    """Checks words and options; embeds each name once and keeps its row.

    A name's row is looked for in `text_embeddings`, then in `cache`, which keeps it for other processes; then it is
    computed, by matrix products in `text_dtype` (bfloat16: twice as fast where the machine has it, and rows
    that are a little off). Norms, sums and the rows themselves are float32 always. A cache belongs to a
    network whose text weights no longer change.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        *,
        config: ModelConfig,
        training_vocabulary: Vocabulary,
        text_embeddings: Mapping[str, Float[Tensor, " embedding"]] | None = None,
        cache: TextCache | None = None,
        text_dtype: torch.dtype = torch.float32,
    ) -> None:
        self._network = network
        self._config = config
        self._training_vocabulary = training_vocabulary
        self._embedding_of_name = dict(text_embeddings or {})
        self.cache = cache
        self.text_dtype = text_dtype

    def with_config(self, config: ModelConfig) -> "PromptEncoder":
        """A builder for other settings of inference that shares the rows of all names."""
        other = copy.copy(self)
        other._config = config
        return other

    def build(
        self,
        words: object,
        *,
        task: Task = "panoptic",
        trust: Trust | None = None,
        background: object = "auto",
        object_mask_threshold: Number | None = None,
        overlap_threshold: Number | None = None,
    ) -> SegmentationPrompt:
        """Check words and options and embed the words; what they mean: `Segmenter.segment`.

        Raises:
            VocabularyError: the words cannot be used.
            ConfigError: an option does not exist, is out of range, or does not belong to the task.
        """
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}; choose one of {', '.join(TASKS)}")
        if task != "panoptic" and (object_mask_threshold is not None or overlap_threshold is not None):
            raise ConfigError(f"thresholds belong to task 'panoptic', not to {task!r}; leave them out")
        usual = self._config.inference
        # semantic output throws no mask away that COAT could save; the paper finds that it hurts a little
        if trust is None:
            trust = 0.0 if task == "semantic" else usual.trust
        if isinstance(trust, str) and trust != "adaptive":
            raise ConfigError(f"trust is {trust!r}, expected a number from 0 to 1, or 'adaptive'")
        if not isinstance(trust, str):
            trust = _in_range("trust", trust, default=0.0)
        object_mask_threshold = _in_range(
            "object_mask_threshold", object_mask_threshold, default=usual.object_mask_threshold
        )
        overlap_threshold = _in_range(  # a mask can win more pixels than it covers: shares above 1 exist
            "overlap_threshold", overlap_threshold, default=usual.overlap_threshold, most=math.inf
        )
        vocabulary = Vocabulary.read(words).with_background(background)
        self._recall(vocabulary)
        self._check(vocabulary)
        seen = vocabulary.seen_in(self._training_vocabulary)
        return SegmentationPrompt(
            vocabulary=vocabulary,
            embeddings=self._embed(vocabulary),
            seen=torch.tensor(seen, device=self._network.encoder.device),
            task=task,
            trust=trust,
            object_mask_threshold=object_mask_threshold,
            overlap_threshold=overlap_threshold,
        )

    def _check(self, vocabulary: Vocabulary) -> None:
        """Raise what is wrong with the words, warn of what is doubtful."""

        def name_length(name: str) -> tuple[int, int]:
            if name in self._embedding_of_name:  # it fitted before; the tokenizer need not even be loaded
                return 0, 0
            tokens, limit = self._network.encoder.text_length(name)
            return tokens, limit - self._prompt_length

        vocabulary.check(name_length)
        for problem in vocabulary.lint():
            warnings.warn(problem.message, UserWarning, stacklevel=4)  # at whoever called the segmenter

    @cached_property
    def _prompt_length(self) -> int:
        """Tokens that the longest prompt adds to a name."""
        measure = self._network.encoder.text_length
        return max(measure(template.replace("{}", ""))[0] for template in self._config.templates)

    def _recall(self, vocabulary: Vocabulary) -> None:
        """Take from the cache what it knows; first of all, for what fitted before need not be measured."""
        new = self._unknown(vocabulary)
        if new and self.cache is not None:
            rows = self.cache.read(self._cache_key, new)
            self._embedding_of_name.update(
                {name: row.to(self._network.encoder.device) for name, row in rows.items()}
            )

    @torch.inference_mode()
    def _embed(self, vocabulary: Vocabulary) -> CategoryEmbeddings:
        if new := self._unknown(vocabulary):
            device = self._network.encoder.device.type
            with torch.autocast(device, dtype=self.text_dtype, enabled=self.text_dtype != torch.float32):
                computed = self._network.embed_names(new, self._config.templates).float()
            rows = dict(zip(new, computed, strict=True))
            self._embedding_of_name.update(rows)
            if self.cache is not None:
                self.cache.write(self._cache_key, rows)
        groups = [category.names for category in vocabulary.all_categories]
        return embed_categories(groups, self._embedding_of_name)

    def _unknown(self, vocabulary: Vocabulary) -> list[str]:
        """The names without a row, each once."""
        names = chain.from_iterable(category.names for category in vocabulary.all_categories)
        return [name for name in dict.fromkeys(names) if name not in self._embedding_of_name]

    @cached_property
    def _cache_key(self) -> str:
        """All that a row depends on, beside its name."""
        encoder = self._config.encoder
        facts = {
            "family": encoder.family,
            "text": encoder.text.model_dump(mode="json"),
            "templates": self._config.templates,
            "dtype": str(self.text_dtype),
        }
        tower = self._network.encoder.get_submodule("text_tower")  # so called in checkpoints of every family
        return fingerprint(tower, facts)


def _in_range(name: str, value: Number | None, *, default: float, most: float = 1.0) -> float:
    """An option within 0..`most`; `default` if it was not given."""
    if value is None:
        return default
    if not 0 <= value <= most:  # written so that NaN fails too
        bounds = "0 or more" if most == math.inf else f"0 to {most:g}"
        raise ConfigError(f"{name} is {value}, expected {bounds}")
    return float(value)
