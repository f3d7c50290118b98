"""Record the outputs of tiny networks, so that the tests detect a changed number.

Usage: python tools/make_goldens.py [DIR]     (default: tests/goldens)

Weights are computed from their names by a formula, so they do not depend on the version of any library.
Record again only if a number is meant to change, and give the reason in the CHANGELOG.
"""

import math
import sys
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ovrcoat.checkpoints.foreign import maft_plus_inference
from ovrcoat.config import (
    ClipTextConfig,
    ConvNextConfig,
    EncoderConfig,
    InferenceConfig,
    MaskDecoderConfig,
    ModelConfig,
    NanoConfig,
    NanoTextConfig,
    PixelDecoderConfig,
    ResNetConfig,
    TextTransferConfig,
)
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.structures import CategoryEmbeddings, ImageBatch

DEFAULT_FOLDER = Path(__file__).parents[1] / "tests" / "goldens"
TEMPLATES = ("a photo of a {}.", "There is a {} in the scene")
NAMES = ("cat", "kitty", "sofa", "sky")
CATEGORY_OF_NAME = (0, 0, 1, 2)
SEEN = (True, False, False)
PADDED, VALID = (64, 96), (50, 90)  # pixels

ENCODERS: dict[str, EncoderConfig] = {
    "convnext": ConvNextConfig(
        depths=(1, 1, 2, 1),
        widths=(8, 8, 16, 16),
        head_hidden=12,
        embedding_dim=16,
        text=ClipTextConfig(width=16, heads=2, layers=2),
    ),
    "resnet": ResNetConfig(
        blocks=(1, 1, 1, 1),
        width=4,
        heads=4,
        pooling_grid=3,
        embedding_dim=16,
        text=ClipTextConfig(width=16, heads=2, layers=2, activation="quick_gelu"),
    ),
    "nano": NanoConfig(
        embedding_dim=16,
        text=NanoTextConfig(width=16, heads=2, layers=1, feed_forward=32),
    ),
}


# MAFT+ is a ConvNeXt with a transfer of the text embeddings.
FAMILIES = (*ENCODERS, "maftplus")


def golden_config(family: str) -> ModelConfig:
    """Return the configuration of a recorded network."""
    is_maft_plus = family == "maftplus"
    return ModelConfig(
        encoder=ENCODERS["convnext" if is_maft_plus else family],
        text_transfer=TextTransferConfig(heads=4) if is_maft_plus else None,
        inference=maft_plus_inference("panoptic") if is_maft_plus else InferenceConfig(),
        pixel_decoder=PixelDecoderConfig(
            channels=32, mask_channels=32, layers=1, heads=4, points=2, feed_forward=32
        ),
        mask_decoder=MaskDecoderConfig(channels=32, queries=5, layers=4, heads=4, feed_forward=32),
        templates=TEMPLATES,
    )


def golden_network(family: str) -> SegmentationNetwork:
    """Return a network with weights from the formula."""
    with torch.device("meta"):
        network = build_network(golden_config(family))
    state = {name: formula_weight(name, weight) for name, weight in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def formula_weight(name: str, like: Tensor) -> Tensor:
    """Return pseudo-random numbers, scaled so that activations keep their magnitude."""
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    places = torch.arange(like.numel(), dtype=torch.float64)
    large = torch.sin(places * 12.9898 + zlib.crc32(name.encode()) % 1000) * 43758.5453
    noise = (2 * (large - large.floor()) - 1).reshape(like.shape).float()
    if like.ndim > 1:
        return noise * math.sqrt(4 / max(1, like[0].numel()))
    if name.endswith("logit_scale"):
        return torch.full(like.shape, 2.0)  # large enough that categories differ
    positive = name.endswith(("weight", "running_var", "gamma"))
    return 1 + 0.1 * noise if positive else 0.1 * noise


def golden_images() -> ImageBatch:
    """Return one image of waves, with some padding."""
    rows = torch.arange(PADDED[0], dtype=torch.float64)[:, None]
    columns = torch.arange(PADDED[1], dtype=torch.float64)
    colors = [torch.sin(rows * (0.05 + 0.1 * c) + columns * (0.21 - 0.07 * c)) for c in range(3)]
    pixels = (torch.stack(colors) * 120 + 128).float()[None]
    pixels[:, :, VALID[0] :], pixels[:, :, :, VALID[1] :] = 0, 0
    return ImageBatch(pixels=pixels, valid_sizes=(VALID,))


def golden_outputs(family: str) -> dict[str, Tensor]:
    """Compute all recorded arrays of one network."""
    network = golden_network(family)
    inference = golden_config(family).inference
    with torch.no_grad():
        images = golden_images()
        features = network.encoder(images)
        encoding = network(images)
        embeddings = network.embed_names(NAMES, TEMPLATES)
        categories = CategoryEmbeddings.shared(embeddings, torch.tensor(CATEGORY_OF_NAME), len(SEEN))
        predictions = network.classify(encoding, categories)
        scored = score_masks(
            predictions,
            0,
            seen=torch.tensor(SEEN),
            alpha=inference.alpha,
            beta=inference.beta,
            trust=inference.trust,
            ensemble_on_valid_mask=family == "resnet",
        )
    return {
        "clip_features": features.clip_features,
        "mask_logits": encoding.proposals.mask_logits,
        "embeddings": encoding.proposals.embeddings,
        "clip_embeddings": encoding.clip.embeddings,
        "text_embeddings": embeddings,
        "in_vocab_logits": predictions.in_vocab_logits,
        "void_logits": predictions.void_logits,
        "out_vocab_logits": predictions.out_vocab_logits,
        "category_probs": scored.category_probs,
        "objectness": scored.objectness,
    }


def main(arguments: list[str]) -> int:
    """Write one file per family."""
    folder = Path(arguments[0]) if arguments else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for family in FAMILIES:
        path = folder / f"{family}.safetensors"
        save_file({name: value.contiguous() for name, value in golden_outputs(family).items()}, path)
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
