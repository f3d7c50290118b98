"""Two networks as one: the masks of one, and the names of the other's CLIP encoder."""

import torch
from torch import nn

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.mask2former import Mask2Former
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings, Encoding, MaskPredictions, Size

MaskNetwork = SegmentationNetwork | Mask2Former  # networks that propose masks


class MixedNetwork(nn.Module):
    """Masks, objectness and in-vocabulary classifier of one network, CLIP's classifier of another.

    Each of them sees the image at a test resolution of its own.

    Attributes:
        masks: the network that proposes masks.
        names: the network whose encoder names them.
        names_test_size: short side and maximum long side, in pixels, of the images that the encoder sees.
    """

    compiled = False

    def __init__(self, masks: MaskNetwork, names: NamingNetwork, *, names_test_size: Size) -> None:
        super().__init__()
        self.masks = masks
        self.names = names
        self.names_test_size = names_test_size

    @property
    def encoder(self) -> Encoder:
        """The encoder that names the masks."""
        return self.names.encoder

    @property
    def image_dtype(self) -> torch.dtype:
        """Dtype of masks and features."""
        return self.masks.image_dtype

    def classify(self, encoding: Encoding, categories: CategoryEmbeddings) -> MaskPredictions:
        """Compute the logits of every mask for every category, by both classifiers."""
        return self.names.classify(encoding, categories, in_vocab_classifier=self.masks.text_classifier)


AnyNetwork = NamingNetwork | MixedNetwork


def names_network(network: AnyNetwork) -> NamingNetwork:
    """Return the network whose encoder names the masks."""
    return network.names if isinstance(network, MixedNetwork) else network


def mask_network(network: AnyNetwork) -> NamingNetwork | Mask2Former:
    """Return the network that proposes the masks, or names those of files."""
    return network.masks if isinstance(network, MixedNetwork) else network
