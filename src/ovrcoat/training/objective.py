"""Network and losses as one module, which the distributed wrapper is put around."""

from collections.abc import Sequence

import torch
from torch import nn

from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.centers import cell_shares, cells_inside, center_loss
from ovrcoat.training.config import StageConfig
from ovrcoat.training.crops import Crop, collate
from ovrcoat.training.extents import extent_loss
from ovrcoat.training.forward import predict
from ovrcoat.training.losses import LossTerm, segmentation_loss
from ovrcoat.training.matcher import LossWeights
from ovrcoat.training.ovr import ovr_loss
from ovrcoat.training.points import RandomPoints


class Objective(nn.Module):
    """Computes the loss terms of a stage.

    Args:
        network: the network to train.
        settings: weights and forms of the losses.
        categories: text embeddings of the training classes, on the network's device.
        bfloat16: run the network under autocast to bfloat16. Losses are always in float32.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        settings: StageConfig,
        *,
        categories: CategoryEmbeddings,
        bfloat16: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.categories = categories
        self.use_bfloat16 = bfloat16  # nn.Module has a method `bfloat16`
        loss = settings.loss
        self.weights = LossWeights(loss.category, loss.mask, loss.dice, loss.void)

    def forward(self, crops: Sequence[Crop]) -> dict[str, LossTerm]:
        """Return the loss terms.

        They are `category`, `mask` and `dice`, `center` with selected queries, `extent` with local masks, and
        `ovr` in a stage that trains the encoder.
        """
        device = self.network.encoder.device
        images, targets = collate(crops, device=device)
        ovr = self.settings.ovr
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.use_bfloat16):
            predictions = predict(self.network, images, self.categories, with_clip=ovr is not None)
        selection = predictions.selection
        shares = [] if selection is None else cell_shares(selection, targets)
        inside = [] if selection is None else cells_inside(selection, shares)
        loss = segmentation_loss(
            predictions.layers,
            targets,
            weights=self.weights,
            points=RandomPoints([crop.seed for crop in crops], device=device),
            point_count=self.settings.loss.points,
            queries_per_target=self.settings.loss.queries_per_target,
            inside=inside,
        )
        terms = dict(loss.terms)
        if selection is not None:
            terms["center"] = center_loss(selection, shares, weight=self.settings.loss.center)
            if predictions.extents:
                terms["extent"] = extent_loss(
                    predictions.extents, shares, inside, weight=self.settings.loss.extent
                )
        if ovr is not None and predictions.clip_logits is not None:
            terms["ovr"] = ovr_loss(
                predictions.clip_logits,
                targets,
                loss.assignments[-1],
                weight=ovr.weight,
                form=ovr.form,
            )
        return terms
