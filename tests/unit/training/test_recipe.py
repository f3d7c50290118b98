from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training
from ovrcoat.checkpoints import native
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import DatasetError, MissingExtraError
from ovrcoat.extras import require
from ovrcoat.training import recipe
from ovrcoat.training.config import DataConfig, TrainConfig, read_config
from ovrcoat.training.recipe import embed_vocabulary, train
from ovrcoat.training.sources import open_source
from ovrcoat.vocabulary import Vocabulary


def configure(
    folder: Path, name: str = "run", *, stage: dict[str, Any] | None = None, **more: Any
) -> TrainConfig:
    """One stage of two steps."""
    stages = [tiny_training.stage("one", **{"steps": 2, **(stage or {})})]
    values = tiny_training.settings(folder, output=folder / name, stages=stages, **more)
    return read_config(tiny_training.write(folder / f"{name}.yaml", values))


def logged(folder: Path, name: str = "run") -> list[dict[str, float]]:
    return tiny_training.records(folder / name / "one" / "log.jsonl")


def test_recomputing_activations_gives_the_same_losses(tmp_path: Path):
    second = {"ovr": {"distillation": 0.2}}  # its untouched copy must not share what is changed
    train(configure(tmp_path, "plain", stage=second), base=tmp_path)
    train(configure(tmp_path, "saving", stage=second, checkpoint_activations=True), base=tmp_path)
    for plain, saving in zip(logged(tmp_path, "plain"), logged(tmp_path, "saving"), strict=True):
        assert saving == pytest.approx(plain, rel=1e-5)


def test_watching_changes_no_loss_and_writes_its_own_file(tmp_path: Path):
    train(configure(tmp_path, "plain"), base=tmp_path)
    watch = {"watch": {"data": {"path": "full"}, "every": 1, "limit": 1}}
    train(configure(tmp_path, "watched", stage=watch), base=tmp_path)
    assert logged(tmp_path, "watched") == logged(tmp_path, "plain")
    seen = [line for line in tiny_training.records(tmp_path / "watched" / "one" / "watch.jsonl")]
    assert [line["steps"] for line in seen] == [1, 2]
    assert all(line["pq"] for line in seen)


def test_trackers_write_their_files(tmp_path: Path):
    config = configure(tmp_path, trackers=["tensorboard"])
    train(config, base=tmp_path)
    require("tensorboard", extra="train")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = {path.parent for path in (tmp_path / "run" / "ovrcoat").glob("events*")}
    found = EventAccumulator(str(events)).Reload()
    assert [point.step for point in found.Scalars("one/mask")] == [0, 1]
    assert found.Scalars("one/mask")[1].value == pytest.approx(logged(tmp_path)[1]["mask"])


def test_a_tracker_that_is_not_installed_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = configure(tmp_path, trackers=["wandb"])
    monkeypatch.setattr(recipe.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tracker 'wandb' is not installed\. Run: pip install wandb"):
        train(config, base=tmp_path)


def test_without_accelerate_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = configure(tmp_path)
    monkeypatch.setitem(
        recipe.__dict__, "require", lambda name, extra: require("no_such_library", extra=extra)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'ovrcoat\[train\]'"):
        train(config, base=tmp_path)


def test_words_may_be_many(tmp_path: Path):
    """More than a file name can hold."""
    words = "; ".join(f"thing number {number}" for number in range(40)) + "; cat; sky"
    train(configure(tmp_path, vocabulary=words), base=tmp_path)
    header = native.read_header(tmp_path / "run" / "one" / "model.safetensors")
    assert len(header.training_vocabulary.categories) == 42


def test_words_may_lie_in_a_file_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "words.txt").write_text("cat\nsky\n")
    config = configure(tmp_path, vocabulary="words.txt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    header = native.read_header(train(config, base=tmp_path))
    assert [category.names for category in header.training_vocabulary.categories] == [("cat",), ("sky",)]


def test_photos_that_are_held_out_are_not_trained_on(tmp_path: Path):
    tiny_training.make_photos(tmp_path / "many", [(1, 2)] * 12)
    source = open_source(DataConfig(path="many", held_out=0.5), base=tmp_path)
    kept = {record.photo for record in source.records}
    assert 0 < len(kept) < 12
    assert not any(is_held_out(photo, 0.5) for photo in kept)
    assert len(open_source(DataConfig(path="many"), base=tmp_path).records) == 12
    with pytest.raises(DatasetError, match=r"many: no photo is left to train on; held_out is 1\.0"):
        open_source(DataConfig(path="many", held_out=1.0), base=tmp_path)


def test_names_of_one_category_are_rows_of_one_category():
    import tiny_clip

    words = Vocabulary.parse("cat, kitty; sky")
    categories = embed_vocabulary(tiny_clip.make_network("convnext"), words, ("{}",))
    assert categories.category_of_row.tolist() == [0, 0, 1]
    assert categories.category_count == 2
    assert not categories.rows.requires_grad
    torch.testing.assert_close(categories.rows.norm(dim=-1), torch.ones(3))


def test_augmentations_are_applied_if_asked_for(tmp_path: Path):
    chosen = {"copy_paste": {"probability": 1.0}, "photometric": {"grey": 1.0}}
    train(configure(tmp_path, "plain"), base=tmp_path)
    train(configure(tmp_path, "augmented", stage=chosen), base=tmp_path)
    assert logged(tmp_path, "augmented") != logged(tmp_path, "plain")
    plain, augmented = (
        recipe.StageRun(
            recipe.start(config.start, base=tmp_path, folder=tmp_path, seed=0),
            config.stages[0],
            config,
            vocabulary=Vocabulary.read(config.vocabulary),
            base=tmp_path,
        ).samples()
        for config in (configure(tmp_path, "a"), configure(tmp_path, "b", stage=chosen))
    )
    assert not plain.augmentations
    assert all(torch.equal(*augmented[number].pixels[:2]) for number in range(4)), "grey"
    pasting, _ = augmented.augmentations
    (donor,) = pasting.donors
    assert {one.category_number for one in donor.candidates} == {0, -1}, "cats, and zebras without a name"
