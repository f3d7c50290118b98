"""Words through the text tower: cold, warm from the cache on disk, and against the plain computation.

The plain computation gives the tower every prompt of every name as 77 tokens, as the released code does.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from machine import DTYPES, extra_memory
from models import load
from torch import Tensor
from torch.nn import functional as F

from ovrcoat import Segmenter, Vocabulary
from ovrcoat.model.encoders.clip_text import ClipTextTower
from ovrcoat.model.encoders.token_tree import token_trees
from ovrcoat.segmentation.prompt import PromptEncoder
from ovrcoat.segmentation.text_cache import open_text_cache

SAMPLE = 5  # categories, from all over the vocabulary, whose first names are computed plainly, too


def embed(model: str, *, vocabulary: str, dtype: str, cache: str | None, limit: int | None = None) -> dict:
    """Seconds and bytes until a vocabulary's rows are there, in a process that has just loaded the model.

    With the folder of a cache that is filled, this is the warm start: the tower's fingerprint is in it.
    """
    segmenter = load(model)
    words = _words(vocabulary, limit)
    seconds = []
    builder = make_builder(segmenter, dtype=dtype, cache=cache)

    def build() -> object:
        began = time.perf_counter()
        prompt = builder.build(words, background="none")
        seconds.append(time.perf_counter() - began)
        return prompt

    memory = extra_memory(build)
    return {"seconds": seconds[0], "memory": memory} | count_tokens(segmenter, _names(words))


def compare(model: str, *, vocabulary: str, dtype: str, limit: int | None = None) -> dict[str, Any]:
    """Rows of a sample of names: largest difference to the plain way, and the plain way's seconds."""
    segmenter = load(model)
    categories = _words(vocabulary, limit).categories
    categories = categories[:: max(1, len(categories) // SAMPLE)][:SAMPLE]
    words = Vocabulary(tuple(replace(category, names=category.names[:1]) for category in categories))
    names = _names(words)
    templates = segmenter.config.templates
    began = time.perf_counter()
    plain = plain_rows(segmenter, names)
    seconds = time.perf_counter() - began
    builder = make_builder(segmenter, dtype=dtype, cache=None)
    rows = builder.build(words, background="none").embeddings.in_vocab
    difference = float((rows - plain).abs().max())
    return {"texts": len(names) * len(templates), "seconds": seconds, "difference": difference}


def make_builder(segmenter: Segmenter, *, dtype: str, cache: str | None) -> PromptEncoder:
    """A builder that knows no row yet."""
    return PromptEncoder(
        segmenter.network,
        config=segmenter.config,
        training_vocabulary=segmenter.training_vocabulary,
        text_dtype=DTYPES[dtype],
        cache=open_text_cache(cache),
    )


@torch.inference_mode()
def plain_rows(segmenter: Segmenter, names: Sequence[str]) -> Tensor:
    """Unit rows of names by full-length token rows, in float32."""
    tower = _tower(segmenter)
    templates = segmenter.config.templates
    texts = [template.replace("{}", name) for name in names for template in templates]
    tokens = torch.zeros(len(texts), tower.context_length, dtype=torch.long)
    for row, text in zip(tokens, texts, strict=True):
        ids = tower.token_ids(text)
        row[: len(ids)] = torch.tensor(ids)
    features = F.normalize(tower(tokens), dim=-1)
    return F.normalize(features.unflatten(0, (len(names), -1)).mean(dim=1), dim=-1)


def count_tokens(segmenter: Segmenter, names: Sequence[str]) -> dict[str, int]:
    """Tokens of all prompts: padded to the tower's length, cut to their own, and those computed."""
    tower = _tower(segmenter)
    texts = {template.replace("{}", name) for name in names for template in segmenter.config.templates}
    ids = [tuple(tower.token_ids(text)) for text in texts]
    return {
        "names": len(names),
        "texts": len(texts),
        "padded": len(texts) * tower.context_length,
        "cut": sum(map(len, ids)),
        "computed": sum(len(tree.tokens) for _, tree in token_trees(ids)),
    }


def _tower(segmenter: Segmenter) -> ClipTextTower:
    """CLIP's tower; nano's has another shape and is not measured here."""
    tower = segmenter.network.encoder.get_submodule("text_tower")
    assert isinstance(tower, ClipTextTower)
    return tower


def _words(vocabulary: str, limit: int | None) -> Vocabulary:
    return Vocabulary(Vocabulary.named(vocabulary).categories[:limit])


def _names(vocabulary: Vocabulary) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(category.names for category in vocabulary.categories)))
