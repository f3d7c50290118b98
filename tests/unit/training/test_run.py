import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_training
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.training_record import TrainingData, read_training_data
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import (
    ConfigError,
    DatasetError,
    MissingExtraError,
    OutputError,
    TrainingError,
    VocabularyError,
)
from ovrcoat.system import devices
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.training import accelerator
from ovrcoat.training import run as recipe
from ovrcoat.training.config import DataConfig, TrainConfig
from ovrcoat.training.config_file import read_config
from ovrcoat.training.copy_paste import CopyPaste
from ovrcoat.training.run import embed_vocabulary, train
from ovrcoat.training.sources import open_source
from ovrcoat.training.stage_data import DataOpener
from ovrcoat.training.trainer import StageTrainer
from ovrcoat.vocabulary import Vocabulary


def configure(
    folder: Path, name: str = "run", *, stage: dict[str, Any] | None = None, **more: Any
) -> TrainConfig:
    """One stage of two steps."""
    stages = [tiny_training.stage("one", **{"steps": 2, **(stage or {})})]
    values = tiny_training.settings(folder, output=folder / name, stages=stages, **more)
    return read_config(tiny_training.write(folder / f"{name}.yaml", values))


def change_data(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Change settings of the dataset of the only stage."""
    (stage,) = config.stages
    data = stage.data[0].model_copy(update=changes)
    return config.model_copy(update={"stages": (stage.model_copy(update={"data": (data,)}),)})


def logged(folder: Path, name: str = "run") -> list[dict[str, float]]:
    return tiny_training.records(folder / name / "one" / "log.jsonl")


def test_recomputing_activations_gives_the_same_losses(tmp_path: Path):
    second = {"ovr": {}}
    train(configure(tmp_path, "plain", stage=second), base=tmp_path)
    train(configure(tmp_path, "saving", stage=second, checkpoint_activations=True), base=tmp_path)
    for plain, saving in zip(logged(tmp_path, "plain"), logged(tmp_path, "saving"), strict=True):
        assert saving == pytest.approx(plain, rel=1e-5)


def test_validation_changes_no_loss_and_writes_its_own_file(tmp_path: Path):
    train(configure(tmp_path, "plain"), base=tmp_path)
    validation = {"validation": {"data": {"path": "full"}, "every": 1, "limit": 1}}
    train(configure(tmp_path, "validated", stage=validation), base=tmp_path)
    assert logged(tmp_path, "validated") == logged(tmp_path, "plain")
    seen = [line for line in tiny_training.records(tmp_path / "validated" / "one" / "validation.jsonl")]
    assert [line["steps"] for line in seen] == [1, 2]
    assert all(line["pq"] for line in seen)


def test_trackers_write_their_files(tmp_path: Path):
    config = configure(tmp_path, trackers=["tensorboard"])
    train(config, base=tmp_path)
    import_optional("tensorboard", extra="train")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = {path.parent for path in (tmp_path / "run" / "ovrcoat").glob("events*")}
    found = EventAccumulator(str(events)).Reload()
    assert [point.step for point in found.Scalars("one/mask")] == [0, 1]
    assert found.Scalars("one/mask")[1].value == pytest.approx(logged(tmp_path)[1]["mask"])


def test_a_tracker_that_is_not_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = configure(tmp_path, trackers=["wandb"])
    monkeypatch.setattr(accelerator.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tracker 'wandb' is not installed\. Run: pip install wandb"):
        train(config, base=tmp_path)


def test_without_accelerate_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = configure(tmp_path)
    monkeypatch.setitem(
        accelerator.__dict__,
        "import_optional",
        lambda name, extra: import_optional("no_such_library", extra=extra),
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'ovrcoat\[train\]'"):
        train(config, base=tmp_path)


def test_a_vocabulary_may_be_long(tmp_path: Path):
    """More than a file name can hold."""
    names = "; ".join(f"thing number {number}" for number in range(40)) + "; cat; sky"
    train(configure(tmp_path, vocabulary=names), base=tmp_path)
    header = native.read_header(tmp_path / "run" / "one" / "model.safetensors")
    assert len(header.training_vocabulary.categories) == 42


def test_a_vocabulary_file_is_relative_to_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "names.txt").write_text("cat\nsky\n")
    config = configure(tmp_path, vocabulary="names.txt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    header = native.read_header(train(config, base=tmp_path))
    assert [category.names for category in header.training_vocabulary.categories] == [("cat",), ("sky",)]


def test_a_preset_wins_over_a_folder_next_to_the_configuration(tmp_path: Path):
    (tmp_path / "coco").mkdir()
    header = native.read_header(train(configure(tmp_path, vocabulary="coco"), base=tmp_path))
    assert header.training_vocabulary == Vocabulary.named("coco")


def test_a_folder_is_no_vocabulary(tmp_path: Path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(VocabularyError, match=r"cat: this is a folder, expected a vocabulary file"):
        train(configure(tmp_path, vocabulary="cat"), base=tmp_path)


def test_images_that_are_held_out_are_not_trained_on(tmp_path: Path):
    tiny_training.make_images(tmp_path / "many", [(1, 2)] * 12)
    source = open_source(DataConfig(path="many", held_out=0.5), base=tmp_path)
    kept = {record.image for record in source.records}
    assert 0 < len(kept) < 12
    assert not any(is_held_out(image, 0.5) for image in kept)
    assert len(open_source(DataConfig(path="many"), base=tmp_path).records) == 12
    with pytest.raises(DatasetError, match=r"many: no image is left to train on; held_out is 1\.0"):
        open_source(DataConfig(path="many", held_out=1.0), base=tmp_path)


def test_synonyms_belong_to_one_category():
    import tiny_clip

    vocabulary = Vocabulary.parse("cat, kitty; sky")
    categories = embed_vocabulary(tiny_clip.make_network("convnext"), vocabulary, ("{}",))
    assert categories.category_of_embedding.tolist() == [0, 0, 1]
    assert categories.category_count == 2
    assert not categories.in_vocab.requires_grad
    torch.testing.assert_close(categories.in_vocab.norm(dim=-1), torch.ones(3))


def test_a_run_can_be_given_as_a_file(tmp_path: Path):
    configure(tmp_path)
    seen: list[recipe.StageStatus] = []
    config = tmp_path / "run.yaml"
    path = train(str(config), overrides=["stages.0.schedule.steps=1"], on_status=seen.append)
    assert path == tmp_path / "run" / "one" / "model.safetensors"
    assert [(status.name, status.steps, status.finished) for status in seen] == [("one", 1, False)]
    assert train(config, overrides=["stages.0.schedule.steps=1"], on_status=seen.append) == path
    assert seen[1].finished


def test_a_stage_can_restore_the_encoder(tmp_path: Path):
    stages = [
        tiny_training.stage("ovr", steps=1, ovr={}),
        tiny_training.stage("decoders", steps=1, restore_encoder=True),
    ]
    values = tiny_training.settings(tmp_path, output=tmp_path / "run", stages=stages)
    config = tiny_training.write(tmp_path / "run.yaml", values)

    def encoder(path: Path) -> dict[str, torch.Tensor]:
        return native.load(path).network.encoder.state_dict()

    initial = encoder(tmp_path / "tiny.safetensors")
    result = train(config)
    trained = encoder(tmp_path / "run" / "ovr" / "model.safetensors")
    assert any(not torch.equal(trained[key], value) for key, value in initial.items())
    torch.testing.assert_close(encoder(result), initial, rtol=0, atol=0)

    expected = result.read_bytes()
    shutil.rmtree(tmp_path / "run" / "decoders")  # as if the second stage had not started yet
    assert train(config).read_bytes() == expected


def test_overrides_need_a_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="overrides apply to a YAML file"):
        train(configure(tmp_path), base=tmp_path, overrides=["seed=1"])


def test_variables_of_all_stages_are_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MY_DATA", raising=False)
    stages = [tiny_training.stage("one"), tiny_training.stage("two", data="${MY_DATA}/full")]
    values = tiny_training.settings(tmp_path, output=tmp_path / "run", stages=stages)
    with pytest.raises(ConfigError, match="needs the environment variable MY_DATA"):
        train(tiny_training.write(tmp_path / "run.yaml", values))
    assert not (tmp_path / "run" / "one").exists()
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    assert train(tmp_path / "run.yaml") == tmp_path / "run" / "two" / "model.safetensors"


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig, base: Path) -> None:
    """Stop a run as Ctrl-C does."""
    step = StageTrainer._step

    def halt(self: StageTrainer, number: int, crops: Any) -> dict[str, float]:
        if number == steps:
            raise KeyboardInterrupt
        return step(self, number, crops)

    with monkeypatch.context() as patched:
        patched.setattr(StageTrainer, "_step", halt)
        with pytest.raises(KeyboardInterrupt):
            train(config, base=base)


def add_image(folder: Path, *, number: int) -> None:
    """Add another image with the labels of image 0."""
    path = folder / "panoptic.json"
    document = json.loads(path.read_text())
    name = f"added{number}.png"
    for part in ("images", "panoptic"):
        shutil.copyfile(folder / part / f"{folder.name}0.png", folder / part / name)
    document["images"].append(document["images"][0] | {"id": number, "file_name": name})
    document["annotations"].append(document["annotations"][0] | {"image_id": number, "file_name": name})
    path.write_text(json.dumps(document))


def test_a_run_on_changed_data_is_refused_and_on_moved_data_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = configure(tmp_path, stage={"steps": 4})
    train(configure(tmp_path, "straight", stage={"steps": 4}), base=tmp_path)
    interrupt_after(3, monkeypatch, config, tmp_path)
    shutil.copytree(tmp_path / "full", tmp_path / "changed")
    add_image(tmp_path / "full", number=7)
    with pytest.raises(TrainingError, match=r"\(full: 3 images then, 4 now\)"):
        train(config, base=tmp_path)
    shutil.rmtree(tmp_path / "full")
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    (tmp_path / "changed").rename(moved)
    elsewhere = change_data(config, path=str(moved))
    train(elsewhere, base=tmp_path)
    assert logged(tmp_path) == logged(tmp_path, "straight")
    labels = moved / "panoptic" / "full0.png"
    content = np.asarray(Image.open(labels)).copy()
    content[:9] = 0
    Image.fromarray(content).save(labels)
    with pytest.raises(TrainingError, match="the labels or images of its 3 images were changed"):
        train(elsewhere, base=tmp_path)
    assert train(elsewhere.model_copy(update={"accept_changed_data": True}), base=tmp_path).is_file()
    shutil.rmtree(moved)  # the data of a completed stage is not needed
    assert train(elsewhere, base=tmp_path).is_file()


def test_the_data_of_all_stages_is_checked_before_the_first_step(tmp_path: Path):
    stages = [tiny_training.stage("one"), tiny_training.stage("two", data="part")]
    values = tiny_training.settings(tmp_path, output=tmp_path / "run", stages=stages)
    (tmp_path / "part" / "images" / "part1.png").unlink()
    with pytest.raises(
        DatasetError, match=r"part: 1 of 3 images cannot be used: .*part1\.png does not exist"
    ):
        train(tiny_training.write(tmp_path / "run.yaml", values))
    assert not (tmp_path / "run" / "one").exists()


def test_skipped_images_are_counted_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = change_data(configure(tmp_path, stage={"steps": 4}), on_error="skip")
    (tmp_path / "full" / "images" / "full1.png").unlink()
    seen: list[recipe.StageStatus] = []
    train(config, base=tmp_path, on_status=seen.append, progress=True)
    assert [issue.code for issue in seen[0].issues] == ["image-unusable"]
    assert sum(line.get("skipped", 0) for line in logged(tmp_path)) > 0
    assert capsys.readouterr().err.count("warning: skipped: ") == 1


def test_warnings_without_a_callback_are_python_warnings(tmp_path: Path):
    with pytest.warns(UserWarning, match="one: only 1 of 3 categories of the data have a class name"):
        train(configure(tmp_path, vocabulary="cat"), base=tmp_path)


def test_the_checkpoint_records_its_training_data(tmp_path: Path):
    config = change_data(configure(tmp_path), held_out=0.2)
    header = native.read_header(train(config, base=tmp_path, on_status=lambda status: None))
    (data,) = read_training_data(header.provenance)
    dataset = open_dataset(tmp_path / "full")
    kept = sum(not is_held_out(record.image, 0.2) for record in dataset.records)
    assert data == TrainingData("full", None, kept, 0.2, dataset.fingerprint())


@pytest.mark.parametrize(("native_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_is_that_of_the_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native_bfloat16: bool, expected: str
):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: native_bfloat16)
    seen: list[recipe.StageStatus] = []
    train(configure(tmp_path, precision="auto"), base=tmp_path, on_status=seen.append)
    assert seen[0].precision == expected
    assert seen[0].issues == ()
    assert json.loads((tmp_path / "run" / "one" / "settings.json").read_text())["precision"] == expected


def test_emulated_bfloat16_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(accelerator, "has_bfloat16", lambda device: False)
    (issue,) = accelerator.precision_issues("bfloat16", cpu)
    assert (issue.severity, issue.code) == ("warning", "bfloat16-emulated")
    assert accelerator.precision_issues("float32", cpu) == ()
    monkeypatch.setattr(accelerator, "has_bfloat16", lambda device: True)
    assert accelerator.precision_issues("bfloat16", cpu) == ()


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path):
    config = configure(tmp_path)
    (tmp_path / "run").mkdir()
    with FolderLock(tmp_path / "run"), pytest.raises(OutputError, match="run is in use by process"):
        train(config, base=tmp_path)


def test_an_output_folder_that_is_a_file_is_an_output_error(tmp_path: Path):
    config = configure(tmp_path)
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write into .*run: it is a file, not a folder"):
        train(config, base=tmp_path)


def test_augmentations_are_applied_if_configured(tmp_path: Path):
    settings = {"copy_paste": {"probability": 1.0}, "photometric": {"gray": 1.0}}
    train(configure(tmp_path, "plain"), base=tmp_path)
    train(configure(tmp_path, "augmented", stage=settings), base=tmp_path)
    assert logged(tmp_path, "augmented") != logged(tmp_path, "plain")
    opener = DataOpener(tmp_path, Vocabulary.parse(tiny_training.VOCABULARY), is_main=True)
    plain, augmented = (
        opener.open(config.stages[0], check=False).samples(config.stages[0], seed=0)
        for config in (configure(tmp_path, "a"), configure(tmp_path, "b", stage=settings))
    )
    assert not plain.augmentations
    assert all(torch.equal(*augmented[number].pixels[:2]) for number in range(4)), "gray"
    copy_paste, _ = augmented.augmentations
    assert isinstance(copy_paste, CopyPaste)
    (donor,) = copy_paste.donors
    assert {candidate.category_index for candidate in donor.candidates} == {0, -1}, "cats, unnamed zebras"
