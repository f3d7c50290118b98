"""A tiny network around an encoder named "tiny" in OPEN_CLIP_MODELS, and what every such network must do."""

from pathlib import Path

import numpy as np
import torch

from ovrcoat.checkpoints import native
from ovrcoat.config import (
    InferenceConfig,
    MaskDecoderConfig,
    ModelConfig,
    OpenClipConfig,
    PixelDecoderConfig,
)
from ovrcoat.model.network import build_network
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Vocabulary


def tiny_model(embedding_dim: int) -> ModelConfig:
    """Return the configuration; the test adds the encoder to the table."""
    return ModelConfig(
        encoder=OpenClipConfig(name="tiny", embedding_dim=embedding_dim),
        pixel_decoder=PixelDecoderConfig(channels=32, mask_channels=32, layers=1, feed_forward=16),
        mask_decoder=MaskDecoderConfig(channels=32, queries=5, layers=3, feed_forward=16),
        inference=InferenceConfig(short_side=64, max_long_side=128),
        templates=("a photo of a {}.",),
    )


def assert_a_checkpoint_segments_as_before(model: ModelConfig, path: Path, pixels: np.ndarray) -> None:
    """Check that a network segments an image, and that its checkpoint gives the same result."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.parse("cat; sky#stuff")
    network = build_network(model).eval()
    native.save(path, network, config=model, training_vocabulary=vocabulary, provenance={})
    segmenter = Segmenter(network, config=model, training_vocabulary=vocabulary, provenance={}, device="cpu")
    expected = segmenter.segment(pixels, "cat; dog; sky#stuff", background="none")
    found = Segmenter.load(path, device="cpu").segment(pixels, "cat; dog; sky#stuff", background="none")
    assert found.segments
    np.testing.assert_array_equal(found.id_map, expected.id_map)
    assert [segment.score for segment in found.segments] == [segment.score for segment in expected.segments]
