"""The tool that makes masks for images with one class name each, with a detector that a test can predict."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.held_out import is_held_out
from tool_modules import load_tool


class Brightness:
    """Stands in for U²-Net: what is bright is salient."""

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="image")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="fused")]

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names == ["fused"]
        assert feed["image"].shape == (1, 3, 320, 320)
        bright = (feed["image"][:, :1] > 0).astype(np.float32)
        return [bright * 0.98 + 0.01]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("nano/pseudo_masks")


def probabilities(*boxes: tuple[slice, slice], value: float = 0.99) -> np.ndarray:
    result = np.zeros((100, 100), dtype=np.float32)
    for box in boxes:
        result[box] = value
    return result


def test_one_confident_component_is_kept(tool: ModuleType):
    candidate = tool.choose(probabilities((slice(20, 60), slice(20, 60)), (slice(90, 92), slice(90, 92))))
    assert not candidate.rejected
    assert int(candidate.mask.sum()) == 1600, "the speck is left out"


@pytest.mark.parametrize(
    ("boxes", "value", "reason"),
    [
        ((), 0.99, "no object"),
        (((slice(0, 30), slice(0, 30)), (slice(50, 80), slice(50, 80))), 0.99, "several components"),
        (((slice(0, 10), slice(0, 10)),), 0.99, "too small or too large"),
        (((slice(0, 95), slice(0, 95)),), 0.99, "too small or too large"),
        (((slice(20, 60), slice(20, 60)),), 0.6, "soft area differs"),
    ],
)
def test_other_masks_are_rejected_with_a_reason(tool: ModuleType, boxes: Any, value: float, reason: str):
    assert tool.choose(probabilities(*boxes, value=value)).rejected == reason


def test_specks_inside_are_filled_and_real_holes_are_not(tool: ModuleType):
    speck, hole = (probabilities((slice(20, 80), slice(20, 80))) for _ in range(2))
    speck[40:42, 40:42] = 0
    hole[30:50, 30:50] = 0
    assert int(tool.choose(speck).mask.sum()) == 3600
    assert int(tool.choose(hole).mask.sum()) == 3200


@pytest.mark.parametrize("name", ["../../outside.png", "/outside.png", "..", "deeper/a.png"])
def test_names_do_not_lead_outside(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    (tmp_path / "labels.json").write_text(json.dumps([{"file_name": name, "name": "a"}]))
    monkeypatch.setattr(tool, "open_model", lambda path: Brightness())
    arguments = [str(tmp_path), str(tmp_path / "out"), "--model", "u2net.onnx", "--held-out", "0"]
    monkeypatch.setattr("sys.argv", ["pseudo_masks.py", *arguments])
    with pytest.raises(SystemExit, match="is not a plain file name"):
        tool.main()
    assert [item.name for item in tmp_path.iterdir()] == ["labels.json"]


def test_the_folder_is_a_dataset_without_held_out_images(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "named" / "images").mkdir(parents=True)
    labels = []
    for number in range(30):
        pixels = np.zeros((60, 80, 3), dtype=np.uint8)
        pixels[10:40, 20:60] = 255
        name = f"{number}.png"
        Image.fromarray(pixels).save(tmp_path / "named" / "images" / name)
        labels.append({"file_name": name, "name": f"name {number % 3}"})
    (tmp_path / "named" / "labels.json").write_text(json.dumps(labels))
    monkeypatch.setattr(tool, "open_model", lambda path: Brightness())
    arguments = [str(tmp_path / "named"), str(tmp_path / "out"), "--model", "u2net.onnx", "--held-out", "0.3"]
    monkeypatch.setattr("sys.argv", ["pseudo_masks.py", *arguments])
    tool.main()
    dataset = open_dataset(tmp_path / "out")
    expected = {name["file_name"] for name in labels if not is_held_out(name["file_name"], 0.3)}
    assert 0 < len(expected) < 30
    assert {Path(record.image).name for record in dataset.records} == expected
    assert f"kept: {len(expected)}" in capsys.readouterr().out
    truth = dataset.panoptic(dataset.records[0])
    assert int((truth.id_map == 1).sum()) == pytest.approx(1200, rel=0.05)
    assert {name for category in dataset.categories for name in category.names} == {
        "name 0",
        "name 1",
        "name 2",
    }
