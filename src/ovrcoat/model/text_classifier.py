"""The learned (in-vocabulary) classifier: compares mask embeddings with text embeddings."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.similarity import NORM_FLOOR, cosine_logits, max_over_names
from ovrcoat.structures import CategoryEmbeddings

MAX_SCALE = 100.0  # upper limit of exp(logit_scale) (FC-CLIP, after CLIP)


def embed_categories(
    groups: Sequence[Sequence[str]], embedding_of_name: Mapping[str, Float[Tensor, " embedding"]]
) -> CategoryEmbeddings:
    """Collect the text embeddings of a vocabulary.

    Args:
        groups: the names of each category.
        embedding_of_name: the unit text embedding of each of these names.
    """
    embeddings = torch.stack([embedding_of_name[name] for group in groups for name in group])
    category_of_embedding = [category for category, group in enumerate(groups) for _ in group]
    return CategoryEmbeddings.shared(
        embeddings, torch.tensor(category_of_embedding, device=embeddings.device), len(groups)
    )


class TextClassifier(nn.Module):
    """Learned temperature and learned void embedding of the in-vocabulary classifier."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's initial value
        self.void_embedding = nn.Parameter(torch.empty(embedding_dim))
        nn.init.normal_(self.void_embedding, std=0.02)

    def forward(
        self, embeddings: Float[Tensor, "*shape embedding"], categories: CategoryEmbeddings
    ) -> tuple[Float[Tensor, "*shape category"], Float[Tensor, "*shape"]]:
        """Return category logits and void logits of each mask embedding."""
        void = F.normalize(self.void_embedding, dim=-1, eps=NORM_FLOOR)
        void_logits = self._name_logits(embeddings, void[None]).squeeze(-1)
        name_logits = self._name_logits(embeddings, categories.in_vocab)
        return max_over_names(name_logits, categories), void_logits

    def _name_logits(
        self,
        embeddings: Float[Tensor, "*shape embedding"],
        text_embeddings: Float[Tensor, "name embedding"],
    ) -> Float[Tensor, "*shape name"]:
        """Logits of names, or of void."""
        return cosine_logits(embeddings, text_embeddings, logit_scale=self.logit_scale, max_scale=MAX_SCALE)
