import torch

from ovrcoat.data.transforms import batch_images
from ovrcoat.model.mixed_network import MixedNetwork, mask_network, names_network
from ovrcoat.model.network import SegmentationNetwork
from tiny_network import make_network


def test_the_parts_of_one_network_are_itself(tiny_network: SegmentationNetwork):
    assert mask_network(tiny_network) is names_network(tiny_network) is tiny_network


def test_masks_and_names_come_from_the_parts(tiny_network: SegmentationNetwork):
    names = make_network()
    mixed = MixedNetwork(tiny_network, names, names_test_size=(64, 128))
    assert mask_network(mixed) is tiny_network
    assert names_network(mixed) is names
    assert mixed.encoder is names.encoder
    assert mixed.image_dtype == torch.float32


def test_proposals_are_those_of_the_whole_network(tiny_network: SegmentationNetwork, image_pixels):
    images = batch_images([image_pixels], stride=32)
    with torch.inference_mode():
        proposals, encoding = tiny_network.propose(images), tiny_network(images)
    assert torch.equal(proposals.mask_logits, encoding.proposals.mask_logits)
    assert torch.equal(proposals.embeddings, encoding.proposals.embeddings)
