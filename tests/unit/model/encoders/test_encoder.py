from collections.abc import Sequence

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.encoders.encoder import CLIP_DEVIATION, CLIP_MEAN, Encoder
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, ImageBatch, MaskEmbeddings


class Normed(Encoder):
    """A minimal encoder with a nested BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.visual_trunk = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Dropout())

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        level = self.visual_trunk(pixels)
        return EncoderFeatures(levels=(level, level, level, level), clip_features=level)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        raise NotImplementedError

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        raise NotImplementedError

    def text_length(self, text: str) -> tuple[int, int]:
        raise NotImplementedError


def test_the_contract_must_be_fulfilled():
    with pytest.raises(TypeError, match="abstract"):
        Encoder()  # type: ignore[abstract]


def test_normalizing_uses_clips_numbers_and_zeroes_the_padding():
    pixels = torch.rand(2, 3, 32, 64) * 255
    original = pixels.clone()
    normalized = Normed().normalize(ImageBatch(pixels=pixels, valid_sizes=((20, 64), (32, 50))))
    expected = torch.stack(
        [(pixels[:, band] - CLIP_MEAN[band]) / CLIP_DEVIATION[band] for band in range(3)], dim=1
    )
    expected[0, :, 20:] = 0
    expected[1, :, :, 50:] = 0
    torch.testing.assert_close(normalized, expected)
    torch.testing.assert_close(pixels, original, atol=0, rtol=0)  # the batch stays as it was


@pytest.mark.parametrize("mode", [True, False])
def test_batch_norm_stays_in_eval_mode(mode: bool):
    encoder = Normed()
    assert encoder.train(mode) is encoder
    norm, dropout = encoder.visual_trunk[0][1], encoder.visual_trunk[1]
    assert not norm.training
    assert dropout.training == encoder.training == mode


def test_statistics_do_not_drift_while_a_network_around_it_trains():
    encoder = Normed()
    network = nn.Sequential(encoder).train()
    before = encoder.visual_trunk[0][1].running_mean.clone()
    network(ImageBatch(pixels=torch.rand(2, 3, 32, 32) * 255, valid_sizes=((32, 32), (32, 32))))
    torch.testing.assert_close(encoder.visual_trunk[0][1].running_mean, before, atol=0, rtol=0)
    assert encoder.visual_trunk[0][1].num_batches_tracked == 0


def test_device_is_that_of_the_weights():
    assert Normed().device == torch.device("cpu")
    assert Normed().to("meta").device == torch.device("meta")


def test_facts_of_an_encoder_have_defaults_of_clip():
    encoder = Normed()
    assert (encoder.stride, encoder.max_logit_scale, encoder.fits_published_sizes) == (32, 100.0, True)
    assert list(encoder.checkpointed_blocks()) == []


def test_classify_limits_the_scale_and_uses_the_embeddings_of_clips_classifier():
    encoder = Normed()
    encoder.logit_scale.data.fill_(9.0)
    encoder.max_logit_scale = 7.0
    unused, used = torch.eye(3), torch.eye(3).flip(0)
    categories = CategoryEmbeddings(unused, used, torch.tensor([0, 1, 1]), 2)
    logits = encoder.classify(torch.tensor([[2.0, 0.0, 0.0]]), categories)
    assert logits.tolist() == [[0.0, 7.0]]
