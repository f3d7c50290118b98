"""The whole recipe of nano with random towers: initial model, training, packing."""

import hashlib
import subprocess
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
    common = {"vocabulary": "cat#thing; sky#stuff", "precision": "float32", "workers": 0}
    common["start"] = {"model": "missing.safetensors"}
    scratch = {**common, "stages": [{**stage, "name": "segmentation"}]}
    module = load_tool("nano/build")
    start = yaml.safe_load(module.TRAINING_CONFIG.read_text(encoding="utf-8"))["start"]
    training = {
        **common,
        "start": {**start, "model": "missing.safetensors"},
        "stages": [{**stage, "name": "crops"}, {**stage, "name": "resolution", "ovr": {}}],
    }
    for constant, settings in (
        ("INITIAL_CONFIG", initial),
        ("SCRATCH_CONFIG", scratch),
        ("TRAINING_CONFIG", training),
    ):
        path = tmp_path / f"{constant}.yaml"
        path.write_text(yaml.safe_dump(settings))
        monkeypatch.setattr(module, constant, path)
    return module


def test_the_build_from_scratch_resumes_and_repeats_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    output, target = Path("run"), Path("packed/nano.safetensors")
    target.parent.mkdir()

    def build() -> None:
        start = tool.initial_weights(output, seed=3)
        tool.build(output, start=start, target=target, overrides=["stages.0.schedule.steps=2"])

    step = StageTrainer._step

    def interrupt(self: StageTrainer, number: int, crops: object) -> dict[str, float]:
        if self.options.folder.name == "resolution":
            raise KeyboardInterrupt
        return step(self, number, crops)

    with monkeypatch.context() as patched:
        patched.setattr(StageTrainer, "_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build()
    assert not target.exists()
    monkeypatch.setattr(initial_model, "build_initial_model", None)  # the initial model is not built again
    build()
    packed, trained = native.load(target), native.load(output / "resolution" / "model.safetensors")
    for key, value in trained.network.state_dict().items():
        assert torch.equal(value.half().float(), packed.network.state_dict()[key]), key
    assert len((output / "crops" / "log.jsonl").read_text().splitlines()) == 2
    stages = {"stage_segmentation", "stage_crops", "stage_resolution"}
    assert packed.provenance.keys() >= {"image_tower", "aligned_on"} | stages
    assert list(packed.text_embeddings) == ["cat", "sky"]
    weights = [path.stat().st_mtime_ns for path in sorted(output.rglob("model.safetensors"))]
    monkeypatch.setattr(StageTrainer, "_step", None)  # neither are the stages
    build()
    assert [path.stat().st_mtime_ns for path in sorted(output.rglob("model.safetensors"))] == weights


def test_the_previous_weights_come_from_the_history(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    repository = tmp_path / "repository"
    weights = repository / "src/ovrcoat/weights"
    weights.mkdir(parents=True)
    (weights / "nano.safetensors").write_bytes(b"previous")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "weights"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    monkeypatch.setattr(tool, "FOLDER", repository)
    monkeypatch.setattr(tool, "PREVIOUS_COMMIT", "HEAD")
    sha256 = hashlib.sha256(b"previous").hexdigest()
    monkeypatch.setattr(tool, "PREVIOUS_WEIGHTS", {"nano.safetensors": sha256})
    path = tool.previous_weights(tmp_path / "run")
    assert path.read_bytes() == b"previous"
    path.write_bytes(b"damaged")  # as by an interrupted copy: written again
    assert tool.previous_weights(tmp_path / "run").read_bytes() == b"previous"
    monkeypatch.setattr(tool, "PREVIOUS_WEIGHTS", {"nano.safetensors": "0" * 64})
    with pytest.raises(SystemExit, match="another SHA-256"):
        tool.previous_weights(tmp_path / "run")
    monkeypatch.setattr(tool, "PREVIOUS_COMMIT", "missing")
    with pytest.raises(SystemExit, match="--from-scratch"):
        tool.previous_weights(tmp_path / "run")


def test_several_processes_are_started_by_torchrun(tool: ModuleType, monkeypatch: pytest.MonkeyPatch):
    commands = []
    monkeypatch.setattr(tool.subprocess, "run", lambda command, check: commands.append(command))
    tool.run_training(Path("nano.yaml"), ["output=runs", "seed=1"], processes=2)
    (command,) = commands
    assert command[1:] == [
        *("-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "ovrcoat", "train", "nano.yaml"),
        *("--set", "output=runs", "--set", "seed=1"),
    ]
