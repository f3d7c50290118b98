import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ovrcoat.config import NanoConfig, NanoTextConfig
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import CheckpointError, ConfigError, DatasetError
from ovrcoat.model.encoders.nano import LiteTrunk, NanoEncoder, SentenceTower
from ovrcoat.training.config import StartConfig
from ovrcoat.training.initialization import Start, start
from ovrcoat.training.nano import alignment
from ovrcoat.training.nano import start as nano

from .nano_images import labelled_folder, named_folder

WORDS = tuple(
    (f"n{place}", (name,), f"some {name}") for place, name in enumerate(("tench", "hen", "bus", "cup"))
)
WORD_PIECES = 27_628  # of the tokenizer that ships with the package
HELD_OUT = 0.5


@pytest.fixture
def towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random towers instead of the packages', four classes, few steps."""
    torch.manual_seed(0)
    trunk, classifier = LiteTrunk().eval(), torch.randn(4, 1280)
    numbers = NanoTextConfig(vocabulary_size=WORD_PIECES)
    words = SentenceTower(**numbers.model_dump()).eval()
    monkeypatch.setattr(nano, "lite_trunk", lambda: (trunk, classifier))
    monkeypatch.setattr(nano, "sentence_tower", lambda: words)
    monkeypatch.setattr(alignment, "class_words", lambda: WORDS)
    monkeypatch.setattr(alignment, "STEPS", 3)


def settings(**towers: Any) -> StartConfig:
    return StartConfig.model_validate(
        {
            "nano_towers": {"names": "names", **towers},
            "pixel_decoder": {"channels": 32, "mask_channels": 32, "layers": 1, "feed_forward": 32},
            "mask_decoder": {"channels": 32, "queries": 4, "layers": 1, "feed_forward": 32},
            "inference": {"short_side": 64, "max_long_side": 96},
            "templates": ["{}"],
        }
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with `names` and `images`."""
    named_folder(tmp_path / "names", [wnid for wnid, _, _ in WORDS])
    labelled_folder(tmp_path / "images", images=8)
    return tmp_path


def encoder_of(started: Start) -> NanoEncoder:
    assert isinstance(started.network.encoder, NanoEncoder)
    return started.network.encoder


@pytest.mark.usefixtures("towers")
def test_the_towers_are_joined_and_what_was_taught_is_kept(base: Path, monkeypatch: pytest.MonkeyPatch):
    taught = settings(data=[{"path": "images", "held_out": HELD_OUT}])
    folder = base / "start"
    first = start(taught, base=base, folder=folder, seed=0)
    assert isinstance(first.config.encoder, NanoConfig)
    assert first.config.encoder.text.vocabulary_size == WORD_PIECES
    assert first.config.templates == ("{}",)
    assert first.provenance["joined_by"] == "names, images"
    assert "EfficientNet-Lite2" in first.provenance["image_tower"]
    encoder = encoder_of(first)
    for key, value in nano.lite_trunk()[0].state_dict().items():
        assert torch.equal(encoder.visual_trunk.state_dict()[key], value)
    report = json.loads((folder / "alignment.json").read_text())
    assert report["calibrated_on"] == ["images"]
    assert encoder.logit_scale.item() == pytest.approx(math.log(report["scale"]))
    assert 0 <= report["named_right"]["images"]["held_out"] <= 1
    kept = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert kept == ["alignment.json", "joint", "pooled", "pooled"]

    monkeypatch.setattr(nano, "teach", None)  # a rerun teaches and pools nothing
    monkeypatch.setattr("ovrcoat.training.nano.pooled.embed_masks", None)
    again = start(taught, base=base, folder=folder, seed=0)
    for key, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key


@pytest.mark.usefixtures("towers")
def test_another_seed_pools_nothing_again_but_teaches_anew(base: Path, monkeypatch: pytest.MonkeyPatch):
    shared = settings(data=[{"path": "images", "held_out": HELD_OUT}], features=str(base / "shared"))
    first = start(shared, base=base, folder=base / "one", seed=0)
    monkeypatch.setattr("ovrcoat.training.nano.pooled.embed_masks", None)
    other = start(shared, base=base, folder=base / "two", seed=1)
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
def test_without_data_classes_that_were_not_taught_choose_the_temperature(
    base: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    folder = base / "start"
    start(settings(), base=base, folder=folder, seed=0)
    report = json.loads((folder / "alignment.json").read_text())
    assert report["calibrated_on"] == ["names"]
    assert report["named_right"].keys() == {"names"}
    assert report["named_right"]["names"]["held_out"] is not None


@pytest.mark.usefixtures("towers")
def test_classes_that_are_held_out_teach_nothing(base: Path, monkeypatch: pytest.MonkeyPatch):
    """Other rows of the classifier and other names for them change nothing."""
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    one = start(settings(), base=base, folder=base / "one", seed=0)
    held_out = [is_held_out(wnid, HELD_OUT) for wnid, _, _ in WORDS]
    assert 0 < sum(held_out) < len(WORDS)
    trunk, classifier = nano.lite_trunk()
    other_rows = torch.where(torch.tensor(held_out)[:, None], -classifier, classifier)
    other_words = tuple(
        (wnid, ("grass",), "green") if held else (wnid, names, definition)
        for (wnid, names, definition), held in zip(WORDS, held_out, strict=True)
    )
    monkeypatch.setattr(nano, "lite_trunk", lambda: (trunk, other_rows))
    monkeypatch.setattr(alignment, "class_words", lambda: other_words)
    other = start(settings(), base=base, folder=base / "two", seed=0)
    assert torch.equal(encoder_of(one).projection.weight, encoder_of(other).projection.weight)


@pytest.mark.usefixtures("towers")
def test_images_that_are_held_out_teach_nothing(base: Path):
    """Other labels on them change the report, not the map."""
    taught = settings(data=[{"path": "images", "held_out": HELD_OUT}])
    one = start(taught, base=base, folder=base / "one", seed=0)
    document = json.loads((base / "images/panoptic.json").read_text())
    changed = 0
    for annotation in document["annotations"]:
        if is_held_out(annotation["file_name"], HELD_OUT):
            annotation["segments_info"][0]["category_id"] = 3
            changed += 1
    assert 0 < changed < len(document["annotations"])
    (base / "images/panoptic.json").write_text(json.dumps(document))
    other = start(taught, base=base, folder=base / "two", seed=0)
    assert torch.equal(encoder_of(one).projection.weight, encoder_of(other).projection.weight)


def test_a_start_without_towers_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"start gives no nano_towers"):
        nano.nano_start(StartConfig(model="nano"), base=tmp_path, folder=tmp_path, seed=0)


@pytest.mark.usefixtures("towers")
def test_a_class_that_imagenet_lacks_is_told(tmp_path: Path):
    named_folder(tmp_path / "names", ["n0", "n77"])
    with pytest.raises(DatasetError, match=r"names: labels\.json holds n77, expected WordNet ids"):
        start(settings(), base=tmp_path, folder=tmp_path / "start", seed=0)


@pytest.mark.usefixtures("towers")
def test_a_damaged_map_is_told_with_the_way_out(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nano, "HELD_OUT_CLASSES", HELD_OUT)
    folder = base / "start"
    start(settings(), base=base, folder=folder, seed=0)
    (file,) = folder.glob("joint-*")
    file.write_bytes(b"no map")
    with pytest.raises(CheckpointError, match=r"kept map cannot be read.*delete the file"):
        start(settings(), base=base, folder=folder, seed=0)
