"""Content-dependent transfer (MAFT+, ECCV 2024): CLIP's text embeddings, adapted to an image.

Every class name attends to CLIP's features of the whole image, and the result is added to its embedding. The
encoder runs once per image and the text tower once per name; the transfer runs once per image and vocabulary.
The embedding of a name does not depend on the other names.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.choices import Arrangement
from ovrcoat.model.transformer import NORM_EPSILON, Attention, sine_positions


class TextTransfer(nn.Module):
    """Attention from class names to the image, a linear layer and a norm.

    Args:
        embedding_dim: dimension of text embeddings, a multiple of `heads` and of 4.
        heads: of the attention.
        arrangement: "panoptic" normalizes the change, T + LN(L). "semantic" normalizes the sum, LN(T + L).
            Both exist in the release, and the weights do not show which one they were trained with.
    """

    def __init__(self, embedding_dim: int, *, heads: int, arrangement: Arrangement) -> None:
        super().__init__()
        self.arrangement = arrangement
        self.attention = Attention(embedding_dim, heads=heads)
        self.linear = nn.Linear(embedding_dim, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim, eps=NORM_EPSILON)

    def forward(
        self,
        text_embeddings: Float[Tensor, "name embedding"],
        image_features: Float[Tensor, "batch embedding height width"],
    ) -> Float[Tensor, "batch name embedding"]:
        """Return the text embeddings for each image, not normalized.

        Args:
            text_embeddings: unit vectors.
            image_features: embedded `transfer_tokens`, arranged as a map. Padding takes part.
        """
        height, width = image_features.shape[-2:]
        channels = image_features.shape[1]
        positions = sine_positions(height, width, channels=channels, like=image_features)
        values, keys = (maps.flatten(2).mT for maps in (image_features, image_features + positions))
        texts = text_embeddings.expand(len(image_features), -1, -1)
        change = self.linear(self.attention(texts, keys, values))
        if self.arrangement == "panoptic":
            return texts + self.norm(change)
        return self.norm(texts + change)


def transfer_tokens(
    clip_features: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch token channel"]:
    """Cut CLIP's feature map into one vector per pixel, in the order of MAFT+'s released code.

    The released code reshapes the map without moving the channels last: the numbers of all pixels of the
    first channel come first, and are cut into pieces of the length of a feature vector. A token is therefore
    not the feature vector of one pixel. The released weights were trained with this order and need it: with
    one vector per pixel, the probabilities are wrong.
    """
    channels = clip_features.shape[1]
    # `flatten` uses the order of the axes, also for a map whose channels are last in memory
    return torch.unflatten(clip_features.flatten(1), 1, (-1, channels))
