"""Models and images for the benchmarks.

Random weights need the same computation as trained ones; only the results have no meaning.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovrcoat import Segmenter, Vocabulary
from ovrcoat.checkpoints import native
from ovrcoat.config import ModelConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network

VOCABULARY = (
    "person; dog; cat; car; bicycle; bus; chair; table; sofa; bottle; book; bird; horse; boat; "
    "wall#stuff; floor#stuff; sky#stuff; tree#stuff; grass#stuff; road#stuff"
)


def is_random(model: str) -> bool:
    """Return whether a model is an architecture that gets random weights."""
    return model in CLIP_ENCODERS


def write_random(model: str, path: str) -> None:
    """Write a checkpoint with random weights for an architecture of `CLIP_ENCODERS`."""
    torch.manual_seed(0)
    config = ModelConfig(encoder=CLIP_ENCODERS[model])
    network = build_network(config)
    generator = torch.Generator().manual_seed(0)
    categories = Vocabulary.read(VOCABULARY).with_background("auto").all_categories
    names = [name for category in categories for name in category.names]
    embeddings = {
        name: unit(torch.randn(network.encoder.embedding_dim, generator=generator)) for name in names
    }
    native.save(
        path,
        network,
        config=config,
        training_vocabulary=Vocabulary.named("coco"),
        provenance={"weights": "random, for benchmarks"},
        text_embeddings=embeddings,
    )


def load(model: str, *, dtype: str = "float32") -> Segmenter:
    """Load a model on the CPU, by name or file."""
    return Segmenter.load(model, device="cpu", dtype=dtype)


def make_image(width: int, height: int) -> np.ndarray:
    """Return an image of colored clouds with some noise: neither flat nor pure noise."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (8, 11, 3), np.uint8))
    clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = random.integers(-12, 13, (height, width, 1), np.int16)
    return np.clip(clouds + grain, 0, 255).astype(np.uint8)


def unit(row: Tensor) -> Tensor:
    """Return the vector scaled to length one."""
    return row / row.norm()
