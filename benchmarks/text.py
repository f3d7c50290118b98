"""Measure text embeddings: cold, warm from the cache on disk, and with the reference computation.

The reference computation pads every prompt of every name to 77 tokens, as the released code does.
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
from ovrcoat.segmentation.prompt import PromptEncoder, TextEmbedder
from ovrcoat.segmentation.text_cache import open_text_cache

SAMPLE = 5  # evenly spread categories; their first names are also computed with the reference method


def embed(model: str, *, vocabulary: str, dtype: str, cache: str | None, limit: int | None = None) -> dict:
    """Measure seconds and bytes of embedding a vocabulary, in a process that has just loaded the model.

    With a filled cache folder this is the warm start, including the fingerprint of the text tower.
    """
    segmenter = load(model)
    subject = _vocabulary(vocabulary, limit)
    seconds = []
    encoder = make_encoder(segmenter, dtype=dtype, cache=cache)

    def embed_subject() -> object:
        began = time.perf_counter()
        prompt = encoder.encode(subject, background="none")
        seconds.append(time.perf_counter() - began)
        return prompt

    memory = extra_memory(embed_subject)
    return {"seconds": seconds[0], "memory": memory} | count_tokens(segmenter, _names(subject))


def compare(model: str, *, vocabulary: str, dtype: str, limit: int | None = None) -> dict[str, Any]:
    """Compare embeddings of a sample of names with the reference computation, and time the latter."""
    segmenter = load(model)
    categories = _vocabulary(vocabulary, limit).categories
    categories = categories[:: max(1, len(categories) // SAMPLE)][:SAMPLE]
    subject = Vocabulary(tuple(replace(category, names=category.names[:1]) for category in categories))
    names = _names(subject)
    templates = segmenter.config.templates
    began = time.perf_counter()
    expected = reference_embeddings(segmenter, names)
    seconds = time.perf_counter() - began
    encoder = make_encoder(segmenter, dtype=dtype, cache=None)
    embeddings = encoder.encode(subject, background="none").embeddings.in_vocab
    difference = float((embeddings - expected).abs().max())
    return {"texts": len(names) * len(templates), "seconds": seconds, "difference": difference}


def make_encoder(segmenter: Segmenter, *, dtype: str, cache: str | None) -> PromptEncoder:
    """Return a prompt encoder without any cached embedding in memory."""
    config = segmenter.config
    embedder = TextEmbedder(
        segmenter.network, config=config, dtype=DTYPES[dtype], cache=open_text_cache(cache)
    )
    return PromptEncoder(embedder, config=config, training_vocabulary=segmenter.training_vocabulary)


@torch.inference_mode()
def reference_embeddings(segmenter: Segmenter, names: Sequence[str]) -> Tensor:
    """Return normalized embeddings of names, computed from padded prompts in float32."""
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
    """Count tokens of all prompts: padded to 77, unpadded, and computed after sharing of prefixes."""
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
    """Return CLIP's text tower; nano has another kind of tower, which is not measured here."""
    tower = segmenter.network.encoder.get_submodule("text_tower")
    assert isinstance(tower, ClipTextTower)
    return tower


def _vocabulary(name: str, limit: int | None) -> Vocabulary:
    return Vocabulary(Vocabulary.named(name).categories[:limit])


def _names(vocabulary: Vocabulary) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(category.names for category in vocabulary.categories)))
