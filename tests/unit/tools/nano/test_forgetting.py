from pathlib import Path

import pytest
import torch

import forgetting
from initial_model import InitialModelConfig
from ovrcoat.errors import TrainingError
from ovrcoat.training.initialization import read_model

from .nano_images import class_image_folder, labeled_folder
from .random_towers import CLASSES


@pytest.fixture
def small(tmp_path: Path, towers: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny datasets, and a model with small decoders in place of nano."""
    config = InitialModelConfig.model_validate(
        {
            "class_images": str(class_image_folder(tmp_path / "imagenet_names", [c.wnid for c in CLASSES])),
            "pixel_decoder": {"channels": 32, "mask_channels": 32, "layers": 1, "feed_forward": 32},
            "mask_decoder": {"channels": 32, "queries": 4, "layers": 1, "feed_forward": 32},
            "inference": {"short_side": 64, "max_long_side": 96},
            "templates": ["{}"],
        }
    )
    for name in ("coco_things", "voc_objects", "msrc_dev"):
        labeled_folder(tmp_path / name)
    monkeypatch.setenv("OVRCOAT_DATASETS", str(tmp_path))
    monkeypatch.setattr(forgetting, "HELD_OUT", 0.5)
    monkeypatch.setattr(forgetting, "HELD_OUT_CLASSES", 0.5)
    monkeypatch.setattr(forgetting, "read_settings", lambda path, kind: config)
    other = forgetting.make_initial_model(config, base=tmp_path, folder=tmp_path / "nano", seed=1)
    monkeypatch.setattr(forgetting, "embedded_path", lambda: other)
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int = 1) -> None:
    options = ("--seeds", "0", "--steps", str(steps), "--decoder-steps", "1", "--size", "64")
    monkeypatch.setattr("sys.argv", ["forgetting.py", "--folder", str(folder), *options])
    forgetting.main()


def changed_parts(before: Path, after: Path) -> set[str]:
    """The parts of the network whose weights differ, with the encoder's own parts."""
    states = [read_model(path).network.state_dict() for path in (before, after)]
    different = [key for key, value in states[0].items() if not torch.equal(value, states[1][key])]
    return {".".join(key.split(".")[: 2 if key.startswith("encoder.") else 1]) for key in different}


def test_only_full_fine_tuning_trains_the_projection_and_the_text_tower(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = small / "run"
    run(folder, monkeypatch)
    decoders = {"pixel_decoder", "mask_decoder", "text_classifier"}
    start = folder / "start/model.safetensors"
    assert changed_parts(start, folder / "seed-0/ovr/model.safetensors") == decoders | {
        "encoder.visual_trunk",
        "encoder.logit_scale",
    }
    assert changed_parts(start, folder / "seed-0/full/model.safetensors") == decoders | {
        "encoder.visual_trunk",
        "encoder.logit_scale",
        "encoder.projection",
        "encoder.text_tower",
    }
    assert changed_parts(start, folder / "initial/model.safetensors") == decoders  # the encoder stayed frozen
    first = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in first.splitlines()[-3:]] == ["| none", "| ovr", "| full"]
    monkeypatch.setattr(forgetting.StageTrainer, "run", lambda self: pytest.fail("trained again"))
    run(folder, monkeypatch)
    assert capsys.readouterr().out == first
    with pytest.raises(TrainingError, match="steps"):
        run(folder, monkeypatch, steps=2)


def test_models_are_measured_without_training(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    model = forgetting.embedded_path()
    folder = str(small / "run")
    monkeypatch.setattr("sys.argv", ["forgetting.py", "--folder", folder, "--measure", str(model)])
    forgetting.main()
    header, _, row = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == [
        "",
        "ImageNet, aligned names",
        "ImageNet, other names",
    ]
    name, *percentages = [cell.strip() for cell in row.strip("|").split("|")]
    assert name == str(model)
    assert len(percentages) == header.count("|") - 2
    del percentages[-1]  # MSRC has no unseen name here
    assert all(0 <= float(percentage) <= 100 for percentage in percentages)


def test_without_the_datasets_it_stops_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("OVRCOAT_DATASETS", raising=False)
    monkeypatch.setattr("sys.argv", ["forgetting.py"])
    with pytest.raises(SystemExit):
        forgetting.main()
    assert "environment variable OVRCOAT_DATASETS is not set" in capsys.readouterr().err
