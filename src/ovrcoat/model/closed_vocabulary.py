"""The classifier of a closed-vocabulary model, seen as the in-vocabulary classifier of any vocabulary.

A closed-vocabulary model has one logit per class and one for void. Here, the "text embedding" of a name is
the indicator vector of the classes with this name.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.structures import CategoryEmbeddings

LEAST = 20.0  # a category without any class has at most e^-20 of the probability of the least likely class


def indicator_embeddings(
    names: Sequence[str], groups: Sequence[Sequence[str]], *, like: Tensor
) -> Float[Tensor, "name embedding"]:
    """Return the indicator vector of each name: 1 for the classes with this name, exactly, else 0.

    Args:
        names: names to embed.
        groups: the names of each class.
        like: a tensor on the wanted device.
    """
    sets = [frozenset(group) for group in groups]
    rows = [[float(name in group) for group in sets] for name in names]
    return torch.tensor(rows, device=like.device).view(len(names), len(groups))


class ClosedClassifier(nn.Module):
    """Category logits and void logits from the logits of a closed vocabulary. Has no weights."""

    def forward(
        self, embeddings: Float[Tensor, "*shape embedding"], categories: CategoryEmbeddings
    ) -> tuple[Float[Tensor, "*shape category"], Float[Tensor, "*shape"]]:
        """Return category logits and void logits of each mask.

        A category has the largest logit of the classes with one of its names. The classes that no category
        names give their probability, in equal shares, to the categories without a class. The probability of
        void is always that of the closed vocabulary, whatever the categories are.

        Args:
            embeddings: the logits of all classes, then that of void.
            categories: their `in_vocab` is from `indicator_embeddings`.
        """
        logits_of_all = embeddings.float()  # classification needs precision
        class_logits, void_logits = logits_of_all[..., :-1], logits_of_all[..., -1]
        name_ids, class_ids = categories.in_vocab.nonzero(as_tuple=True)  # each name and class with this name
        owners = categories.category_of_embedding[name_ids].expand(*class_logits.shape[:-1], -1)
        logits = class_logits.new_full((*class_logits.shape[:-1], categories.category_count), -math.inf)
        logits = logits.scatter_reduce(-1, owners, class_logits[..., class_ids], reduce="amax")
        is_unknown = logits.isinf()
        is_claimed = categories.in_vocab.any(0)
        unclaimed = class_logits.masked_fill(is_claimed, -math.inf).logsumexp(-1, keepdim=True)
        share = unclaimed - is_unknown.sum(-1, keepdim=True).clamp(min=1).log()
        least = class_logits.amin(-1, keepdim=True) - LEAST
        logits = torch.where(is_unknown, torch.maximum(share, least), logits)
        # void's share of the categories' softmax becomes its share of the classes' softmax
        return logits, void_logits - class_logits.logsumexp(-1) + logits.logsumexp(-1)
