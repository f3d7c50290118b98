"""Mask2Former of Hugging Face and ours, with the same random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ovrcoat.checkpoints.mask2former import load_mask2former
from ovrcoat.data.transforms import batch_images
from ovrcoat.errors import CheckpointError
from ovrcoat.model.mask2former import build_mask2former
from tiny_mask2former import detectron2_names, make_config

transformers = pytest.importorskip("transformers")
LABELS = ("cat", "dog", "wall-other-merged", "sky", "sea", "sand", "road")


def make_reference(backbone: str) -> "transformers.Mask2FormerForUniversalSegmentation":
    """Return a small network with random weights; every weight is random, norms and biases too."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    if backbone == "swin":
        settings = transformers.SwinConfig(
            embed_dim=16, depths=[1, 2, 3, 1], num_heads=[1, 2, 2, 4], window_size=3, out_features=stages
        )
    else:
        settings = transformers.ResNetConfig(depths=[1, 2, 1, 1], out_features=stages)
    config = transformers.Mask2FormerConfig(
        backbone_config=settings,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=32,
        dim_feedforward=48,
        num_attention_heads=4,
        num_queries=9,
        encoder_layers=2,
        decoder_layers=5,
        id2label=dict(enumerate(LABELS)),
    )
    torch.manual_seed(3)
    network = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    for name, weight in network.state_dict().items():
        if name.startswith(("class_predictor", "model")) and weight.is_floating_point():
            _randomize(weight, name)
    return network


def _randomize(weight: torch.Tensor, name: str) -> None:
    """Draw values that keep the signal's size, so that every weight has an effect on the result."""
    if "position_bias_table" in name or "embed" in name.rsplit(".", 2)[-2]:
        weight.normal_()
    elif weight.ndim == 1:
        if "running_var" not in name:
            weight.add_(torch.randn_like(weight) * 0.2)
    else:
        weight.normal_(std=weight[0].numel() ** -0.5)


@pytest.mark.parametrize("backbone", ["swin", "resnet"])
@pytest.mark.parametrize("size", [(128, 160), (224, 256)])
def test_equals_transformers(backbone: str, size: tuple[int, int], tmp_path: Path) -> None:
    reference = make_reference(backbone)
    reference.save_pretrained(tmp_path)
    loaded = load_mask2former(tmp_path)
    assert [category.names[0] for category in loaded.classes.categories][:2] == ["cat", "dog"]
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    images = batch_images([pixels], stride=32)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    with torch.inference_mode():
        expected = reference(pixel_values=(images.pixels / 255 - mean) / deviation)
        proposals = loaded.network.propose(images)

    torch.testing.assert_close(proposals.mask_logits, expected.masks_queries_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(proposals.embeddings, expected.class_queries_logits, rtol=1e-4, atol=1e-4)
    assert proposals.mask_logits.std() > 0.1  # the comparison would be void for constant masks


@pytest.mark.parametrize("backbone", ["swin", "resnet"])
def test_reads_detectron2_file(backbone: str, tmp_path: Path) -> None:
    config = make_config(backbone)
    torch.manual_seed(1)
    network = build_mask2former(config).eval()
    state = detectron2_names(network.state_dict())
    # Detectron2's frozen normalization counts no batches, and its criterion has weights
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    state["criterion.empty_weight"] = torch.ones(20)
    path = tmp_path / "model_final.pth"
    torch.save({"model": state, "iteration": 5}, path)

    loaded = load_mask2former(path)

    assert loaded.config == config
    assert set(loaded.dropped) >= {"criterion.empty_weight"}
    assert loaded.classes.categories[0].name == "road"  # 19 classes: Cityscapes
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value), key


def test_reports_unknown_weights(tmp_path: Path) -> None:
    state = detectron2_names(build_mask2former(make_config("swin")).state_dict()) | {"extra": torch.ones(1)}
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="1 unknown weights: extra"):
        load_mask2former(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "maskformer"}, "model_type: Input should be 'mask2former'"),
        ({"backbone_config": {"model_type": "dinov2"}}, "backbone_config.model_type"),
        ({"id2label": {"0": "cat"}}, "7 classes, but 1 class names"),
    ],
)
def test_unsupported_folder(change: dict[str, object], message: str, tmp_path: Path) -> None:
    make_reference("swin").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_mask2former(tmp_path)


def test_folder_without_safetensors(tmp_path: Path) -> None:
    make_reference("swin").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors; download"):
        load_mask2former(tmp_path)
