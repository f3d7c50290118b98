"""Network and losses as one module: crops in, loss terms out. What a distributed wrapper is put around."""

from collections.abc import Sequence

import torch
from torch import nn

from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, ImageBatch
from ovrcoat.training.config import OvrConfig, StageConfig
from ovrcoat.training.crops import Crop, collate
from ovrcoat.training.forgetting import UntouchedEncoder, compensation, distillation
from ovrcoat.training.forward import predict
from ovrcoat.training.image_names import image_name_loss
from ovrcoat.training.losses import LossTerm, segmentation_loss
from ovrcoat.training.matcher import LossWeights
from ovrcoat.training.ovr import ovr_loss
from ovrcoat.training.points import RandomPoints


class Objective(nn.Module):
    """The losses of one stage; `categories` are the training words in text space, on the network's device.

    `image_names`: likewise the names of whole images, for a stage that has such.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        settings: StageConfig,
        *,
        categories: CategoryEmbeddings,
        bfloat16: bool,
        image_names: CategoryEmbeddings | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.categories = categories
        self.image_names = image_names
        self.in_bfloat16 = bfloat16  # a module has a method of the shorter name
        loss = settings.loss
        self.weights = LossWeights(loss.category, loss.mask, loss.dice, loss.void)
        keeps_memory = settings.ovr is not None and settings.ovr.distillation + settings.ovr.compensation > 0
        self.untouched = UntouchedEncoder(network.encoder) if keeps_memory else None

    def forward(self, crops: Sequence[Crop]) -> dict[str, LossTerm]:
        """Every term of the loss of these crops."""
        device = self.network.encoder.device
        images, targets = collate(crops, device=device)
        ovr = self.settings.ovr
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.in_bfloat16):
            predictions = predict(self.network, images, self.categories, with_clip=ovr is not None)
        loss = segmentation_loss(
            predictions.layers,
            targets,
            weights=self.weights,
            points=RandomPoints([crop.seed for crop in crops], device=device),
            point_count=self.settings.loss.points,
        )
        terms = dict(loss.terms)
        if ovr is not None and predictions.clip_logits is not None:
            terms["ovr"] = ovr_loss(
                predictions.clip_logits,
                targets,
                loss.assignments[-1],
                weight=ovr.weight,
                form=ovr.form,
            )
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.in_bfloat16):
                terms |= self._encoder_terms(ovr, crops, images, predictions.features)
        return terms

    def _encoder_terms(
        self, ovr: OvrConfig, crops: Sequence[Crop], images: ImageBatch, features: EncoderFeatures
    ) -> dict[str, LossTerm]:
        """What is asked of the encoder without any mask: not to forget, and to name whole photos."""
        terms = {}
        if self.untouched is not None:
            before = self.untouched(images)
            if ovr.distillation:
                terms["distillation"] = distillation(features.dense, before, weight=ovr.distillation)
            if ovr.compensation:
                terms["compensation"] = compensation(features.dense, before, weight=ovr.compensation)
        if ovr.image_names is not None and self.image_names is not None:
            terms["image_names"] = image_name_loss(
                self.network.encoder,
                features,
                valid_sizes=images.valid_sizes,
                name_numbers=torch.tensor([crop.name_number for crop in crops], device=features.dense.device),
                names=self.image_names,
                weight=ovr.image_names.loss,
            )
        return terms
