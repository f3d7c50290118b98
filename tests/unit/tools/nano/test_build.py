"""The whole recipe of nano with random towers: initial model, training, packing."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import initial_model
import pack
from ovrcoat.checkpoints import native
from ovrcoat.training.trainer import StageTrainer
from tool_modules import load_tool

from .nano_images import class_image_folder, labeled_folder
from .random_towers import CLASSES

SMALL = {"layers": 1, "channels": 32, "feed_forward": 32}


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, towers: None) -> ModuleType:
    """The tool with small configurations; `$OVRCOAT_DATASETS` contains their datasets."""
    datasets = tmp_path / "datasets"
    class_image_folder(datasets / "names", [entry.wnid for entry in CLASSES])
    labeled_folder(datasets / "images", images=4)
    monkeypatch.setenv("OVRCOAT_DATASETS", str(datasets))
    monkeypatch.setattr(initial_model, "HELD_OUT_CLASSES", 0.5)
    monkeypatch.setattr(pack, "common_names", lambda: ["cat", "sky"])
    initial = {
        "class_images": "${OVRCOAT_DATASETS}/names",
        "pixel_decoder": {**SMALL, "mask_channels": 32},
        "mask_decoder": {**SMALL, "queries": 4},
        "inference": {"short_side": 64, "max_long_side": 96},
        "templates": ["{}"],
    }
    stage = {
        "data": [{"path": "${OVRCOAT_DATASETS}/images"}],
        "crop": {"size": 64},
        "loss": {"points": 16},
        "schedule": {"steps": 1, "batch_size": 1},
    }
    stages = [{**stage, "name": "segmentation"}, {**stage, "name": "ovr", "ovr": {}}]
    common = {"vocabulary": "cat#thing; sky#stuff", "precision": "float32", "workers": 0}
    training = {"start": {"model": "missing.safetensors"}, **common, "stages": stages}
    module = load_tool("nano/build")
    for constant, settings in (("INITIAL_CONFIG", initial), ("TRAINING_CONFIG", training)):
        path = tmp_path / f"{constant}.yaml"
        path.write_text(yaml.safe_dump(settings))
        monkeypatch.setattr(module, constant, path)
    return module


def test_one_command_builds_nano_and_repeats_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    output, target = Path("run"), Path("packed/nano.safetensors")
    target.parent.mkdir()
    arguments = {"seed": 3, "overrides": ["stages.0.schedule.steps=2"], "target": target}
    step = StageTrainer._step

    def interrupt(self: StageTrainer, number: int, crops: object) -> dict[str, float]:
        if self.options.folder.name == "ovr":
            raise KeyboardInterrupt
        return step(self, number, crops)

    with monkeypatch.context() as patched:
        patched.setattr(StageTrainer, "_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tool.build(output, **arguments)
    assert not target.exists()
    monkeypatch.setattr(initial_model, "build_initial_model", None)  # the initial model is not built again
    tool.build(output, **arguments)
    packed, trained = native.load(target), native.load(output / "ovr" / "model.safetensors")
    for key, value in trained.network.state_dict().items():
        assert torch.equal(value.half().float(), packed.network.state_dict()[key]), key
    assert len((output / "segmentation" / "log.jsonl").read_text().splitlines()) == 2
    assert packed.provenance.keys() >= {"image_tower", "aligned_on", "stage_segmentation", "stage_ovr"}
    assert list(packed.text_embeddings) == ["cat", "sky"]
    weights = [path.stat().st_mtime_ns for path in sorted(output.rglob("model.safetensors"))]
    monkeypatch.setattr(StageTrainer, "_step", None)  # neither are the stages
    tool.build(output, **arguments)
    assert [path.stat().st_mtime_ns for path in sorted(output.rglob("model.safetensors"))] == weights
