import math

import pytest
import torch

import tiny_clip
from ovrcoat.structures import CategoryEmbeddings, ImageBatch
from ovrcoat.training.image_names import image_name_loss, whole_images
from ovrcoat.training.losses import UNNAMED

NAMES = CategoryEmbeddings(torch.eye(4, 16), torch.arange(4), 4)


def test_a_whole_image_is_all_but_the_padding():
    masks = whole_images([(64, 48), (30, 64)], like=torch.zeros(2, 5, 16, 16))
    assert masks.shape == (2, 1, 16, 16)
    assert (masks[0, 0] > 0).sum(dim=0).tolist() == [16] * 12 + [0] * 4
    assert (masks[1, 0] > 0).sum(dim=1).tolist() == [16] * 8 + [0] * 8  # a cell that is half inside counts
    assert set(masks.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("family", tiny_clip.FAMILIES)
def test_the_loss_is_the_cross_entropy_of_the_pooled_image(family: str):
    encoder = tiny_clip.make_network(family).encoder
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    images = ImageBatch(pixels, ((64, 64), (64, 64)))
    features = encoder(images)

    def loss(*numbers: int) -> torch.Tensor:
        term = image_name_loss(
            encoder,
            features,
            valid_sizes=images.valid_sizes,
            name_numbers=torch.tensor(numbers),
            names=NAMES,
            weight=0.5,
        )
        return term.value()

    everywhere = torch.ones(2, 1, 16, 16)
    embedding = encoder.embed_masks(features, everywhere).embeddings[:, 0]
    cosines = torch.nn.functional.normalize(embedding, dim=-1)[:, :4]
    scale = encoder.logit_scale.exp().clamp(max=100)
    wanted = -(scale * cosines).log_softmax(dim=-1)
    torch.testing.assert_close(loss(1, 3), 0.5 * (wanted[0, 1] + wanted[1, 3]) / 2)
    torch.testing.assert_close(loss(UNNAMED, 3), 0.5 * wanted[1, 3])
    assert loss(UNNAMED, UNNAMED) == 0
    assert math.isfinite(loss(0, 0).item())
