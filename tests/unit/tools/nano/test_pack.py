"""The tool that writes a completed training of nano into the package."""

import hashlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.errors import TrainingError
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.training.config_file import read_config
from tool_modules import load_tool

CONFIG = Path(__file__).parents[4] / "tools/nano/nano.yaml"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("nano/pack")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder whose last stage holds the shipped weights in float32, as a training writes them."""
    folder = tmp_path_factory.mktemp("run")
    stages = read_config(CONFIG).stages
    for stage in stages:
        (folder / stage.name).mkdir()
        (folder / stage.name / "settings.json").write_text(stage.model_dump_json(indent=1))
    model = native.load(embedded_path())
    native.save(
        folder / stages[-1].name / "model.safetensors",
        model.network,
        config=model.config,
        training_vocabulary=model.training_vocabulary,
        provenance={"family": "nano", "stage_ovr": "{}"},
    )
    return folder


def test_the_last_stage_is_packed_in_half_precision_with_provenance(
    tool: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tool, "common_names", lambda: ["cat", "grass"])
    tool.pack(run, CONFIG, target=tmp_path / "nano.safetensors")
    packed, shipped = native.load(tmp_path / "nano.safetensors"), native.load(embedded_path())
    for key, value in shipped.network.state_dict().items():
        assert torch.equal(value, packed.network.state_dict()[key]), key
    assert packed.provenance["stage_ovr"] == "{}"
    assert packed.provenance["config_sha256"] == hashlib.sha256(CONFIG.read_bytes()).hexdigest()
    assert packed.training_vocabulary == shipped.training_vocabulary
    assert packed.config == shipped.config
    inference = packed.config.inference
    assert (inference.trust, inference.duplicate_iou) == ("adaptive", 0.2)
    assert inference.weight_by_stability
    assert list(packed.text_embeddings) == ["cat", "grass"]
    for name, row in packed.text_embeddings.items():
        torch.testing.assert_close(row, shipped.text_embeddings[name], atol=1e-5, rtol=1e-4)
    # the text tower is frozen: its file is the one in the package
    part = "nano-text.safetensors"
    assert file_sha256(tmp_path / part) == file_sha256(embedded_path().with_name(part))
    assert (tmp_path / "nano.safetensors").stat().st_size < 20e6


def test_common_names_include_background_classes_and_coco(tool: ModuleType):
    names = tool.common_names()
    assert len(names) == len(set(names)) > 300
    assert {"person", "wall", "grass", "tv"} <= set(names)


def test_other_settings_are_an_error(tool: ModuleType, run: Path, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.read_text().replace("batch_size: 4", "batch_size: 5"))
    with pytest.raises(
        TrainingError, match=r"settings\.json was made with other settings \(.*batch_size: 4 then"
    ):
        tool.pack(run, other, target=tmp_path / "nano.safetensors")
