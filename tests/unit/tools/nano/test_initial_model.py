import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import alignment
import initial_model as nano
from alignment import ImageNetClass
from initial_model import InitialModelConfig
from ovrcoat.checkpoints import native
from ovrcoat.config import NanoConfig
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import CheckpointError, DatasetError, TrainingError
from ovrcoat.model.encoders.nano import NanoEncoder
from ovrcoat.training.initialization import InitialModel

from .nano_images import class_image_folder, labeled_folder
from .random_towers import CLASSES, TOKENS

HELD_OUT = 0.5


def settings(**more: Any) -> InitialModelConfig:
    return InitialModelConfig.model_validate(
        {
            "class_images": "names",
            **more,
            "pixel_decoder": {"channels": 32, "mask_channels": 32, "layers": 1, "feed_forward": 32},
            "mask_decoder": {"channels": 32, "queries": 4, "layers": 1, "feed_forward": 32},
            "inference": {"short_side": 64, "max_long_side": 96},
            "templates": ["{}"],
        }
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with `names` and `images`."""
    class_image_folder(tmp_path / "names", [entry.wnid for entry in CLASSES])
    labeled_folder(tmp_path / "images", images=8)
    return tmp_path


def encoder_of(model: InitialModel) -> NanoEncoder:
    assert isinstance(model.network.encoder, NanoEncoder)
    return model.network.encoder


@pytest.mark.usefixtures("towers")
def test_the_towers_are_combined_and_the_alignment_is_cached(base: Path, monkeypatch: pytest.MonkeyPatch):
    config = settings(masks=[{"path": "images", "held_out": HELD_OUT}])
    folder = base / "initial"
    first = nano.build_initial_model(config, base=base, folder=folder, seed=0)
    assert isinstance(first.config.encoder, NanoConfig)
    assert first.config.encoder.text.vocabulary_size == TOKENS
    assert first.config.templates == ("{}",)
    assert first.provenance["aligned_on"] == "names, images"
    assert "EfficientNet-Lite2" in first.provenance["image_tower"]
    encoder = encoder_of(first)
    for key, value in nano.lite_trunk()[0].state_dict().items():
        assert torch.equal(encoder.visual_trunk.state_dict()[key], value)
    report = json.loads((folder / "alignment.json").read_text())
    assert report["calibrated_on"] == ["images"]
    assert encoder.logit_scale.item() == pytest.approx(math.log(report["scale"]))
    assert 0 <= report["accuracy"]["images"]["held_out"] <= 1
    kept = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert kept == ["alignment", "alignment.json", "pooled", "pooled"]

    monkeypatch.setattr(nano, "fit_alignment", None)  # a rerun neither fits nor pools
    monkeypatch.setattr("pooled_features.embed_masks", None)
    again = nano.build_initial_model(config, base=base, folder=folder, seed=0)
    for key, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key


@pytest.mark.usefixtures("towers")
def test_another_seed_uses_the_pooled_features_and_fits_again(base: Path, monkeypatch: pytest.MonkeyPatch):
    shared = settings(masks=[{"path": "images", "held_out": HELD_OUT}])
    first = nano.build_initial_model(shared, base=base, folder=base / "one", features=base / "shared", seed=0)
    monkeypatch.setattr("pooled_features.embed_masks", None)
    other = nano.build_initial_model(shared, base=base, folder=base / "two", features=base / "shared", seed=1)
    assert len(list((base / "shared").iterdir())) == 2
    for module in ("encoder.projection.weight", "mask_decoder.query_features"):
        pair = [
            run.network.state_dict()[key]
            for run in (first, other)
            for key in run.network.state_dict()
            if key.startswith(module)
        ]
        assert pair
        assert not torch.equal(pair[0], pair[1])


@pytest.mark.usefixtures("towers")
def test_without_datasets_held_out_classes_choose_the_temperature(
    base: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    folder = base / "initial"
    nano.build_initial_model(settings(), base=base, folder=folder, seed=0)
    report = json.loads((folder / "alignment.json").read_text())
    assert report["calibrated_on"] == ["names"]
    assert report["accuracy"].keys() == {"names"}
    assert report["accuracy"]["names"]["held_out"] is not None


@pytest.mark.usefixtures("towers")
def test_held_out_classes_have_no_influence(base: Path, monkeypatch: pytest.MonkeyPatch):
    """Other rows of the classifier and other names for them change nothing."""
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    one = nano.build_initial_model(settings(), base=base, folder=base / "one", seed=0)
    held_out = [is_held_out(entry.wnid, HELD_OUT) for entry in CLASSES]
    assert 0 < sum(held_out) < len(CLASSES)
    trunk, classifier = nano.lite_trunk()
    other_rows = torch.where(torch.tensor(held_out)[:, None], -classifier, classifier)
    other_classes = tuple(
        ImageNetClass(entry.wnid, ("grass",), "green") if held else entry
        for entry, held in zip(CLASSES, held_out, strict=True)
    )
    monkeypatch.setattr(nano, "lite_trunk", lambda: (trunk, other_rows))
    monkeypatch.setattr(alignment, "imagenet_classes", lambda: other_classes)
    other = nano.build_initial_model(settings(), base=base, folder=base / "two", seed=0)
    assert torch.equal(encoder_of(one).projection.weight, encoder_of(other).projection.weight)


@pytest.mark.usefixtures("towers")
def test_held_out_images_have_no_influence(base: Path):
    """Other labels on them change the report, not the map."""
    config = settings(masks=[{"path": "images", "held_out": HELD_OUT}])
    one = nano.build_initial_model(config, base=base, folder=base / "one", seed=0)
    document = json.loads((base / "images/panoptic.json").read_text())
    changed = 0
    for annotation in document["annotations"]:
        if is_held_out(annotation["file_name"], HELD_OUT):
            annotation["segments_info"][0]["category_id"] = 3
            changed += 1
    assert 0 < changed < len(document["annotations"])
    (base / "images/panoptic.json").write_text(json.dumps(document))
    other = nano.build_initial_model(config, base=base, folder=base / "two", seed=0)
    assert torch.equal(encoder_of(one).projection.weight, encoder_of(other).projection.weight)


@pytest.mark.usefixtures("towers")
def test_the_checkpoint_is_the_model_and_is_written_once(base: Path, monkeypatch: pytest.MonkeyPatch):
    config, folder = settings(masks=[{"path": "images", "held_out": HELD_OUT}]), base / "initial"
    expected = nano.build_initial_model(config, base=base, folder=folder, seed=0)
    path = nano.make_initial_model(config, base=base, folder=folder, seed=0)
    loaded = native.load(path)
    for key, value in expected.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[key]), key
    assert (loaded.config, loaded.provenance) == (expected.config, expected.provenance)
    monkeypatch.setattr(nano, "build_initial_model", None)
    assert nano.make_initial_model(config, base=base, folder=folder, seed=0) == path
    with pytest.raises(TrainingError, match=r"other settings \(seed: 0 then, 1 now\)"):
        nano.make_initial_model(config, base=base, folder=folder, seed=1)


@pytest.mark.usefixtures("towers")
def test_an_unknown_class_is_an_error(tmp_path: Path):
    class_image_folder(tmp_path / "names", ["n0", "n77"])
    with pytest.raises(DatasetError, match=r"names: labels\.json contains n77, expected WordNet ids"):
        nano.build_initial_model(settings(), base=tmp_path, folder=tmp_path / "initial", seed=0)


@pytest.mark.usefixtures("towers")
def test_a_damaged_alignment_is_an_error(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    folder = base / "initial"
    nano.build_initial_model(settings(), base=base, folder=folder, seed=0)
    (file,) = folder.glob("alignment-*.safetensors")
    file.write_bytes(b"no alignment")
    with pytest.raises(CheckpointError, match=r"cached alignment cannot be read.*delete the file"):
        nano.build_initial_model(settings(), base=base, folder=folder, seed=0)
