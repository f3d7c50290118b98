import json
from pathlib import Path

import pytest
import yaml

from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.checkpoints.model_folder import write_model_folder
from ovrcoat.checkpoints.native import load, read_header
from ovrcoat.errors import CheckpointError, OutputError


def test_the_folder_holds_a_complete_model(tmp_path: Path):
    written = write_model_folder(embedded_path(), tmp_path / "model", name="Tiny", license="apache-2.0")
    assert sorted(path.name for path in written) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "nano-text.safetensors",
    ]
    assert load(tmp_path / "model" / "model.safetensors").config == read_header(embedded_path()).config
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["library_name"] == "ovrcoat"
    assert config["encoder"]["family"] == "nano"


def test_the_card_starts_with_valid_metadata(tmp_path: Path):
    write_model_folder(embedded_path(), tmp_path, name="Tiny", license="apache-2.0")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", maxsplit=2)
    metadata = yaml.safe_load(front)
    assert (metadata["license"], metadata["library_name"]) == ("apache-2.0", "ovrcoat")
    assert metadata["pipeline_tag"] == "image-segmentation"
    assert body.strip().startswith("# Tiny")
    assert "EfficientNet-Lite2" in body
    assert " categories: " in body
    assert "| queries | 100 learned, 60 selected with local masks |" in body


def test_files_are_not_replaced_without_permission(tmp_path: Path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(OutputError, match=r"README\.md"):
        write_model_folder(embedded_path(), tmp_path, name="Tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    write_model_folder(embedded_path(), tmp_path, name="Tiny", overwrite=True)
    assert "# Tiny" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_missing_shard_is_named(tmp_path: Path):
    main = tmp_path / "alone.safetensors"
    main.write_bytes(embedded_path().read_bytes())
    with pytest.raises(CheckpointError, match=r"needs nano-text\.safetensors"):
        write_model_folder(main, tmp_path / "out", name="Tiny")
    assert not (tmp_path / "out").exists()
