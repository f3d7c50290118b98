import re
from pathlib import Path

import pytest
import yaml

import tiny_training
from ovrcoat.errors import ConfigError
from ovrcoat.training.config import LossConfig, OvrConfig, StartConfig, TrainConfig
from ovrcoat.training.config_file import REMOVED_KEYS, RENAMED_KEYS, read_config, with_current_keys

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration of two stages."""
    stages = [tiny_training.stage("one"), tiny_training.stage("two", ovr={})]
    return tiny_training.write(
        tmp_path / "c.yaml", tiny_training.settings(tmp_path, output=tmp_path, stages=stages)
    )


def changed(path: Path, *overrides: str) -> TrainConfig:
    return read_config(path, overrides)


def test_a_file_becomes_settings(path: Path):
    config = read_config(path)
    assert [stage.name for stage in config.stages] == ["one", "two"]
    assert config.stages[0].ovr is None
    assert config.stages[1].ovr == OvrConfig()
    assert config.stages[0].loss.mask == 6.0


def test_settings_can_be_changed_one_by_one(path: Path):
    config = changed(
        path,
        "seed=3",
        "stages.0.schedule.steps=9",
        "stages.1.schedule.learning_rate=5e-5",  # YAML takes it for text
        "stages.0.crop.scales=[0.1, 2]",
        "stages.1.ovr=null",
        "stages.0.ovr.weight=0.2",
        "stages.0.data.0.path=a=b",
    )
    assert config.seed == 3
    assert config.stages[0].schedule.steps == 9
    assert config.stages[1].schedule.learning_rate == 5e-5
    assert config.stages[0].crop.scales == (0.1, 2.0)
    assert config.stages[1].ovr is None
    assert config.stages[0].ovr is not None
    assert config.stages[0].ovr.weight == 0.2
    assert config.stages[0].data[0].path == "a=b"


@pytest.mark.parametrize("override", ["seed", "=3", ""])
def test_an_override_needs_key_and_value(path: Path, override: str):
    with pytest.raises(ConfigError, match=r"expected key=value, such as stages\.0\.schedule\.steps=100"):
        changed(path, override)


@pytest.mark.parametrize(
    "override", ["stages.7.name=x", "stages.first.name=x", "vocabulary.x=1", "stages.0.name.x=1", "seed=[1"]
)
def test_an_override_of_a_place_that_is_not_there(path: Path, override: str):
    with pytest.raises(ConfigError, match="the configuration has no setting"):
        changed(path, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=1", "sed: unknown key; did you mean 'seed'\\?"),
        ("stages.0.shedule=1", "stages.0.shedule: unknown key; did you mean 'schedule'\\?"),
        ("stages.1.schedule.learnin_rate=1", "stages.1.schedule.learnin_rate: .*mean 'learning_rate'"),
        ("stages.1.ovr.wight=1", "stages.1.ovr.wight: unknown key; did you mean 'weight'"),
        ("stages.0.data.0.pth=x", "stages.0.data.0.pth: unknown key; did you mean 'path'"),
        ("start.pixel_decoder.chanels=1", "start.pixel_decoder.chanels: .*mean 'channels'"),
        ("start.mask_decoder.querys=1", "start.mask_decoder.querys: unknown key; did you mean 'queries'"),
        (
            "stages.0.loss.qqq=1",
            "stages.0.loss.qqq: unknown key; expected one of category, mask, dice, void, points",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_one(path: Path, override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        changed(path, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.schedule.steps=0", "stages.0.schedule.steps: Input should be greater than or equal to 1"),
        ("stages.0.schedule.max_grad_norm=.nan", "stages.0.schedule.max_grad_norm: .*finite number"),
        ("stages.0.crop.scales=[2, 1]", "scales are \\(2.0, 1.0\\), expected the smaller one first"),
        ("stages.0.name=two", "stages are called \\['two', 'two'\\], expected different names"),
        ("stages=[]", "stages: Tuple should have at least 1 item"),
        ("start={}", "start has neither, expected either model or clip"),
        ("start.clip=x", "start has model and clip, expected either model or clip"),
        (
            "start={clip: x, selected_queries: 4}",
            "selected_queries is for start.model; with clip, use start.mask_decoder.selected_queries",
        ),
        (
            "start={clip: x, local_masks: true}",
            "local_masks is for start.model; with clip, use start.mask_decoder.local_masks",
        ),
        ("precision=half", "precision: Input should be 'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_a_value_that_does_not_fit(path: Path, override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        changed(path, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.schedule.clip_norm=1", "stages.0.schedule.clip_norm: .* write 'max_grad_norm'"),
        ("stages.0.schedule.warm_up=1", "stages.0.schedule.warm_up: .* write 'warmup_steps'"),
        ("stages.0.schedule.photos_at_once=1", "photos_at_once: .* write 'micro_batch_size'"),
        ("stages.0.crop.colour_jitter=true", "colour_jitter: .* write 'color_jitter'"),
        ("stages.0.data.0.unlabelled=void", "unlabelled: .* write 'unlabeled'"),
        ("stages.1.ovr.encoder_rate=0.1", "encoder_rate: .* write 'encoder_lr_multiplier'"),
        ("stages.1.watch={}", "stages.1.watch: the key was renamed; write 'validation'"),
        ("start.nano_towers={}", "start.nano_towers: .* tools/nano/build.py"),
        ("stages.1.ovr.distillation=0.1", "distillation: the option was removed; delete the key"),
        ("stages.0.clip_norm=1", "stages.0.clip_norm: unknown key; expected one of name"),
    ],
)
def test_a_key_of_an_earlier_version_gives_an_error_that_says_what_to_write(
    path: Path, override: str, message: str
):
    with pytest.raises(ConfigError, match=message):
        changed(path, override)


def test_an_error_in_an_item_is_reported_once(path: Path):
    with pytest.raises(ConfigError) as caught:
        changed(path, "stages.0.data.0.pth=x")
    assert len(str(caught.value).splitlines()) == 2


def test_settings_of_an_earlier_version_can_be_compared():
    saved = {"schedule": {"clip_norm": 1.0}, "data": [{"path": "a"}]}
    assert with_current_keys(saved) == {"schedule": {"max_grad_norm": 1.0}, "data": [{"path": "a"}]}


def test_no_former_key_is_in_use():
    keys = {key for path in SHIPPED for key in all_keys(yaml.safe_load(path.read_text(encoding="utf-8")))}
    assert set(RENAMED_KEYS.values()) - {"validation"} <= keys
    assert not keys & {*RENAMED_KEYS, *REMOVED_KEYS}


def all_keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(all_keys, value.values()))
    return set().union(*map(all_keys, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("text", ["- a", "", "a: [", "\xff"])
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ConfigError, match=r"expected (keys such as start and vocabulary|a YAML file as in configs/)"
    ):
        read_config(path)


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read .*missing\.yaml"):
        read_config(tmp_path / "missing.yaml")


SHIPPED = [*sorted(CONFIGS.glob("*.yaml")), *sorted((ROOT / "tools/nano").glob("nano*.yaml"))]
NEEDED = {"published-stage1", "published-stage2", "one-gpu", "finetune-folder", "tiny"}


def test_the_shipped_configurations_were_found():
    assert {path.stem for path in SHIPPED} >= NEEDED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid_and_begins_with_what_to_expect(path: Path):
    config = read_config(path)
    assert config.stages
    text = path.read_text(encoding="utf-8")
    head = text[: re.search(r"^[a-z]", text, flags=re.M).start()].lower()  # type: ignore[union-attr]
    command = "tools/nano/build.py" if path.stem == "nano" else f"ovrcoat train {path.relative_to(ROOT)}"
    for text_part in ("command:", "hardware:", "time:", "number:", command):
        assert text_part in head, text_part
    assert any(word in head for word in ("published", "measured")), "say where the number comes from"
    assert len(yaml.safe_load(text)) <= len(TrainConfig.model_fields)


def test_the_published_configurations_hold_the_published_numbers():
    first, second = (read_config(CONFIGS / f"published-stage{number}.yaml") for number in (1, 2))
    schedule = first.stages[0].schedule
    assert (schedule.batch_size, schedule.steps, schedule.learning_rate) == (16, 368_750, 1e-4)
    assert [round(share * schedule.steps) for share in schedule.milestones] == [327_778, 355_092]
    for config in (first, second):
        stage = config.stages[0]
        assert (stage.schedule.weight_decay, stage.schedule.max_grad_norm) == (0.05, 0.01)
        assert (stage.crop.size, stage.crop.scales, stage.crop.fit) == (1024, (0.1, 2.0), "inside")
        assert (stage.loss.points, stage.loss.void) == (12_544, 0.1)
        assert (stage.data[0].path, stage.data[0].split) == ("coco", "train")
        assert config.vocabulary == "coco"
    assert first.start.clip == "convnext_large_d_320"
    assert (first.stages[0].loss.mask, second.stages[0].loss.mask) == (5.0, 6.0)
    ovr = second.stages[0].ovr
    assert first.stages[0].ovr is None
    assert ovr is not None
    assert (ovr.weight, ovr.encoder_lr_multiplier, second.stages[0].schedule.batch_size) == (0.1, 0.1, 9)


@pytest.mark.parametrize("name", ["../../../x", "/x", "a/b", "", ".", "..", "a\\0", "a" * 300])
def test_a_stage_cannot_have_its_folder_elsewhere(path: Path, name: str):
    with pytest.raises(ConfigError, match="expected a plain name: it is the stage's folder"):
        changed(path, f'stages.0.name="{name}"')


def test_settings_of_later_versions_are_stored_only_where_they_are_used():
    """A run of an earlier version can be resumed, because its settings still look the same."""
    assert {"queries_per_target", "center", "extent"}.isdisjoint(LossConfig().model_dump())
    assert {"selected_queries", "local_masks"}.isdisjoint(StartConfig(model="nano").model_dump())
    assert LossConfig(center=1.0).model_dump()["center"] == 1.0
    assert StartConfig(model="nano", selected_queries=4).model_dump()["selected_queries"] == 4
    assert StartConfig(model="nano", local_masks=True).model_dump()["local_masks"] is True
