"""Embeddings against words: the learned (in-vocabulary) classifier, and the cosine of both classifiers."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.structures import CategoryEmbeddings

LARGEST_SCALE = 100.0  # clamp of exp(logit_scale) (CLIP)
NORM_FLOOR = 1e-12  # shortest length that normalising divides by (PyTorch's F.normalize)


def cosine_logits(
    embeddings: Float[Tensor, "*shape embedding"],
    rows: Float[Tensor, "row embedding"],
    *,
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, "*shape row"]:
    """Cosine of each embedding with each unit row, times exp(logit_scale) clamped at 100; in their dtype."""
    scale = logit_scale.exp().clamp(max=LARGEST_SCALE)
    return scale * F.normalize(embeddings.to(rows.dtype), dim=-1, eps=NORM_FLOOR) @ rows.T


def category_logits(
    embeddings: Float[Tensor, "*shape embedding"],
    categories: CategoryEmbeddings,
    *,
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, "*shape category"]:
    """A category's logit is the largest over the rows of its names."""
    row_logits = cosine_logits(embeddings, categories.rows, logit_scale=logit_scale)
    shape = row_logits.shape[:-1]
    logits = row_logits.new_full((*shape, categories.category_count), -math.inf)
    index = categories.category_of_row.expand(*shape, -1)
    return logits.scatter_reduce(-1, index, row_logits, reduce="amax", include_self=True)


def embed_categories(
    groups: Sequence[Sequence[str]], embedding_of_name: Mapping[str, Float[Tensor, " embedding"]]
) -> CategoryEmbeddings:
    """A vocabulary in text space: `groups` are the names of each category, `embedding_of_name` their unit rows."""
    rows = torch.stack([embedding_of_name[name] for group in groups for name in group])
    owners = [position for position, group in enumerate(groups) for _ in group]
    return CategoryEmbeddings(
        rows=rows,
        category_of_row=torch.tensor(owners, device=rows.device),
        category_count=len(groups),
    )


class TextClassifier(nn.Module):
    """The in-vocabulary classifier: a temperature and the learned void embedding."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's start
        self.void_embedding = nn.Parameter(torch.empty(embedding_dim))
        nn.init.normal_(self.void_embedding, std=0.02)

    def forward(
        self, embeddings: Float[Tensor, "*shape embedding"], categories: CategoryEmbeddings
    ) -> tuple[Float[Tensor, "*shape category"], Float[Tensor, "*shape"]]:
        """Category logits and void logits of each embedding."""
        void_row = F.normalize(self.void_embedding, dim=-1, eps=NORM_FLOOR)
        void_logits = cosine_logits(embeddings, void_row[None], logit_scale=self.logit_scale)
        return category_logits(embeddings, categories, logit_scale=self.logit_scale), void_logits.squeeze(-1)
