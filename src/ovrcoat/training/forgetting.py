"""Against forgetting: while CLIP's image encoder learns masks, it is held near what it was.

Off by default, as in OVRCOAT's released configuration; the untouched copy is in memory only if it is on.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import EncoderFeatures, ImageBatch
from ovrcoat.training.losses import LossTerm


class UntouchedEncoder(nn.Module):
    """A frozen copy of the image tower as it was when training began; the text tower is not copied."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        # the copy shares the text tower, which no stage trains
        shared = {id(encoder.text_tower): encoder.text_tower}
        self.encoder = copy.deepcopy(encoder, memo=shared).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "UntouchedEncoder":
        """Stay in eval mode, always."""
        return super().train(False)

    def distillation(self, images: ImageBatch, features: EncoderFeatures, *, weight: float) -> LossTerm:
        """Mean over the dense map's cells of 1 - cosine between now and then."""
        with torch.no_grad():
            before = self.encoder(images).dense
        distance = 1 - F.cosine_similarity(features.dense.float(), before.float(), dim=1)
        return LossTerm(distance.sum()[None], distance.new_full((1,), float(distance.numel())), weight)
