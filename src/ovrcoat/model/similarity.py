"""Scaled cosine similarity between embeddings of masks and of class names, shared by both classifiers."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.structures import CategoryEmbeddings

NORM_FLOOR = 1e-12  # smallest norm that normalizing divides by (PyTorch's default in F.normalize)


def cosine_logits(
    embeddings: Float[Tensor, "*shape embedding"],
    text_embeddings: Float[Tensor, "*batch name embedding"],
    *,
    logit_scale: Float[Tensor, ""],
    max_scale: float,
) -> Float[Tensor, "*shape name"]:
    """Return the cosine of each embedding with each text embedding, times the temperature's inverse.

    Args:
        embeddings: need not be normalized.
        text_embeddings: unit vectors, or vectors whose length scales the result (MAFT+), for all images or
            for each image of the batch. The computation takes place in their dtype.
        logit_scale: logarithm of the scale (CLIP's parametrisation).
        max_scale: upper limit of the scale, after the exponential.
    """
    scale = logit_scale.exp().clamp(max=max_scale)
    normalized = F.normalize(embeddings.to(text_embeddings.dtype), dim=-1, eps=NORM_FLOOR)
    return scale * normalized @ text_embeddings.mT


def max_over_names(
    name_logits: Float[Tensor, "*shape name"], categories: CategoryEmbeddings
) -> Float[Tensor, "*shape category"]:
    """Reduce logits of names to logits of categories: the largest logit among the names of a category."""
    shape = name_logits.shape[:-1]
    logits = name_logits.new_full((*shape, categories.category_count), -math.inf)
    index = categories.category_of_embedding.expand(*shape, -1)
    return logits.scatter_reduce(-1, index, name_logits, reduce="amax", include_self=True)
