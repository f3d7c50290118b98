import copy
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import towers
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.errors import CheckpointError, MissingExtraError
from ovrcoat.model.encoders.nano import FoldedConv, InvertedResidual, LiteTrunk

TOKENIZER = {
    "model": {"vocab": {"[PAD]": 0, "[unused0]": 1, "[CLS]": 2, "[SEP]": 3, "cat": 4, "ж": 5, "##s": 6}},
    "added_tokens": [{"content": "[CLS]", "id": 2}],
    "post_processor": {"special_tokens": {"[SEP]": {"tokens": ["[SEP]"], "ids": [3]}}},
    "truncation": {"max_length": 128},
    "padding": {"strategy": "fixed"},
}


def shipped_tokenizer() -> dict[str, Any]:
    return json.loads(embedded_path().with_name("nano-tokenizer.json").read_bytes())


def lite_state() -> dict[str, Tensor]:
    """Random weights under the names that the image tower's package has."""
    torch.manual_seed(0)
    trunk, state = LiteTrunk(), {"_fc.weight": torch.randn(1000, 1280)}

    def add(layer: nn.Module, conv: str, norm: str) -> None:
        assert isinstance(layer, FoldedConv)
        width = len(layer.conv.weight)
        state[f"{conv}.weight"] = torch.randn_like(layer.conv.weight) / 10
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.rand(width) + 0.5, torch.randn(width)
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.randn(width), torch.rand(width)

    add(trunk.stem, "_conv_stem", "_bn0")
    blocks = [module for module in trunk.modules() if isinstance(module, InvertedResidual)]
    for index, block in enumerate(blocks):
        layers = list(block.layers)
        names = ["_expand_conv", "_depthwise_conv", "_project_conv"][-len(layers) :]
        norms = ["_bn0", "_bn1", "_bn2"][-len(layers) :]
        for layer, conv, norm in zip(layers, names, norms, strict=True):
            add(layer, f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}")
    add(trunk.head, "_conv_head", "_bn1")
    return state


def take_packages_from(folder: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import `package` from `folder` for the duration of the test."""
    monkeypatch.setitem(sys.modules, package, None)
    del sys.modules[package]
    monkeypatch.syspath_prepend(folder)


@torch.no_grad()
def test_folding_is_convolution_then_batch_norm():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, eps=1e-3).eval()
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    layer = FoldedConv(3, 4, 3, active=False)
    state = {f"c.{k}": v for k, v in conv.state_dict().items()}
    state |= {f"n.{k}": v for k, v in norm.state_dict().items()}
    towers.fold(layer, state, conv="c", norm="n")
    pixels = torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(layer(pixels), norm(conv(pixels)), atol=1e-5, rtol=1e-5)


def test_the_image_tower_is_read_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = tmp_path / towers.IMAGE_PACKAGE / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    state = lite_state()
    torch.save(state, models / "weights.pth")
    (models / "readme.txt").touch()
    take_packages_from(tmp_path, towers.IMAGE_PACKAGE, monkeypatch)
    trunk, classifier = towers.lite_trunk()
    torch.testing.assert_close(classifier, state["_fc.weight"])
    scale = state["_bn1.weight"] / torch.sqrt(state["_bn1.running_var"] + 1e-3)
    expected = state["_conv_head.weight"] * scale[:, None, None, None]
    torch.testing.assert_close(trunk.head.conv.weight.detach(), expected)
    first = next(module for module in trunk.modules() if isinstance(module, InvertedResidual))
    assert first.layers[0].conv.bias.detach().std() > 0.1  # folded, not the initial value
    assert not trunk.training


@pytest.mark.parametrize(
    ("package", "read"),
    [(towers.IMAGE_PACKAGE, towers.lite_trunk), (towers.TEXT_PACKAGE, towers.sentence_tower)],
)
def test_a_missing_package_gives_the_install_command(
    package: str, read: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*Run: pip install 'ovrcoat\[nano\]'"):
        read()


def test_only_ascii_tokens_are_kept():
    kept = towers.latin_tokens(TOKENIZER["model"]["vocab"])
    assert kept == {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3, "cat": 4, "##s": 6}


def test_the_reduced_tokenizer_has_new_ids():
    before = copy.deepcopy(TOKENIZER)
    reduced = towers.reduce_tokenizer(TOKENIZER, towers.latin_tokens(TOKENIZER["model"]["vocab"]))
    assert before == TOKENIZER
    assert reduced["model"]["vocab"] == {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "cat": 3, "##s": 4}
    assert reduced["added_tokens"][0]["id"] == 1
    assert reduced["post_processor"]["special_tokens"]["[SEP]"]["ids"] == [2]
    assert reduced["truncation"] is None
    assert reduced["padding"] is None


def test_the_shipped_tokenizer_is_accepted_and_another_one_is_not():
    shipped = shipped_tokenizer()
    towers.check_tokenizer(shipped)
    vocabulary = shipped["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    with pytest.raises(CheckpointError, match=r"is not the one that ovrcoat ships.*force-reinstall"):
        towers.check_tokenizer(shipped)


def test_a_text_package_with_another_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safetensors.torch import save

    package = tmp_path / towers.TEXT_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text('print("hello")')
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model.safetensors", save({"weight": torch.zeros(1)}))
        file.writestr("tokenizer.json", json.dumps(TOKENIZER))
    (package / "model.zip").write_bytes(archive.getvalue())
    take_packages_from(tmp_path, towers.TEXT_PACKAGE, monkeypatch)
    with pytest.raises(CheckpointError, match=r"expected all-MiniLM-L6-v2"):
        towers.sentence_tower()


@torch.no_grad()
def test_a_bert_layer_computes_the_same_under_torchs_names():
    torch.manual_seed(0)
    width, state = 4, {}
    layer = nn.TransformerEncoderLayer(width, 2, 8, dropout=0.0, activation="gelu", batch_first=True)
    own = {key: torch.randn_like(value) for key, value in layer.state_dict().items()}
    for kind in ("weight", "bias"):
        for place, part in enumerate(("query", "key", "value")):
            state[f"b.attention.self.{part}.{kind}"] = own[f"self_attn.in_proj_{kind}"].chunk(3)[place]
        for theirs, ours in (
            ("attention.output.dense", "self_attn.out_proj"),
            ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "linear1"),
            ("output.dense", "linear2"),
            ("output.LayerNorm", "norm2"),
        ):
            state[f"b.{theirs}.{kind}"] = own[f"{ours}.{kind}"]
    renamed = towers.bert_layer(state, source="b.", target="")
    assert renamed.keys() == own.keys()
    for key, value in own.items():
        assert torch.equal(renamed[key], value)


def test_the_shipped_towers_come_from_the_packages():
    for package in (towers.IMAGE_PACKAGE, towers.TEXT_PACKAGE):
        if not any((Path(folder) / package).is_dir() for folder in sys.path):
            pytest.skip(f"{package} is not installed (extra nano)")
    encoder = native.load(embedded_path()).network.encoder
    shipped = encoder.text_tower.state_dict()
    for key, value in towers.sentence_tower().state_dict().items():
        assert torch.equal(value.half().float(), shipped[key]), key
