"""What many tests share: a tiny network with random weights, a segmenter around it, an image and words.

Imports stand in the fixtures: this file is read before the run-time type check is switched on, which then
would miss every module that is already there.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from ovrcoat.config import ModelConfig
    from ovrcoat.model.network import SegmentationNetwork
    from ovrcoat.segmentation.segmenter import Segmenter
    from ovrcoat.vocabulary import Vocabulary

# for tiny_network.py: pytest's importlib mode leaves the path alone
sys.path.append(str(Path(__file__).parent))

os.environ["OVRCOAT_CACHE"] = "none"  # no test, nor a process that it starts, writes to the user's folder


@pytest.fixture
def tiny_config() -> "ModelConfig":
    """The settings of `tiny_segmenter`: small images, two templates."""
    from ovrcoat.config import InferenceConfig, ModelConfig, NanoConfig, NanoTextConfig

    return ModelConfig(
        encoder=NanoConfig(embedding_dim=16, text=NanoTextConfig(width=16, heads=2)),
        inference=InferenceConfig(short_side=64, max_long_side=128, overlap_threshold=0.2),
        templates=("a photo of a {}.", "There is a {} in the scene"),
    )


@pytest.fixture
def tiny_network() -> "SegmentationNetwork":
    """A whole network of a few thousand weights, the same in every test."""
    from tiny_network import make_network

    return make_network()


@pytest.fixture
def tiny_segmenter(tiny_network: "SegmentationNetwork", tiny_config: "ModelConfig") -> "Segmenter":
    """The tiny network as a user holds it; its training knew "cat" and "sky"."""
    from ovrcoat.segmentation.segmenter import Segmenter
    from ovrcoat.vocabulary import Vocabulary

    return Segmenter(
        tiny_network,
        config=tiny_config,
        training_vocabulary=Vocabulary.parse("cat; sky#stuff"),
        provenance={"source": "random weights"},
        device="cpu",
    )


@pytest.fixture
def tiny_vocabulary() -> "Vocabulary":
    """Two things, two kinds of stuff, no background classes."""
    from ovrcoat.vocabulary import Vocabulary

    return Vocabulary.parse("cat, kitty; dog#thing; sky#stuff; road#stuff")


@pytest.fixture
def image_pixels() -> np.ndarray:
    """40 × 56, coloured shapes and some noise."""
    rows, columns = np.mgrid[0:40, 0:56]
    pixels = np.stack([rows * 6, columns * 4, (rows + columns) * 2], axis=-1)
    pixels[10:30, 5:25] = (250, 40, 10)
    pixels[20:38, 30:50] = (10, 200, 240)
    noise = np.random.default_rng(0).integers(-8, 9, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)
