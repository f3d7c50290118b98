from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_clip
import tiny_training
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import ConfigError, OutputError, TrainingError
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training import trainer as trainer_module
from ovrcoat.training.config import StageConfig
from ovrcoat.training.crops import Cropper
from ovrcoat.training.objective import Objective
from ovrcoat.training.samples import Samples
from ovrcoat.training.sources import ImageSource
from ovrcoat.training.stages import stage_of
from ovrcoat.training.trainer import RunOptions, StageTrainer
from tiny_training import CAT, SKY, ZEBRA

CATEGORIES = CategoryEmbeddings.shared(torch.eye(2, 16), torch.tensor([0, 1]), 2)


class OneProcess:
    """The part of accelerate that the trainer uses, for one process."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def prepare_model(self, model: Objective) -> Objective:
        return model

    def no_sync(self, model: Objective) -> Any:
        return torch.enable_grad()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        return tensor

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def wait_for_everyone(self) -> None:
        pass


Make = Callable[..., StageTrainer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A trainer of the same network on the same three images at every call; settings as in a YAML file."""
    dataset = open_dataset(
        tiny_training.make_images(tmp_path / "full", [(CAT, SKY), (SKY, CAT), (CAT, ZEBRA)])
    )
    source = ImageSource(dataset, tuple(dataset.records), weight=1.0, unlabeled="void")

    def build(
        folder: str = "run", *, family: str = "convnext", network: Any = None, **settings: Any
    ) -> StageTrainer:
        config = StageConfig.model_validate(tiny_training.stage("one", **settings))
        used = network or tiny_clip.make_network(family)
        (tmp_path / folder).mkdir(exist_ok=True)
        return StageTrainer(
            Objective(used, config, categories=CATEGORIES, bfloat16=False),
            stage_of(config),
            Samples([source], [Cropper(config.crop, category_map={CAT: 0, SKY: 1})], seed=0),
            accelerator=OneProcess(),
            seed=0,
            options=RunOptions(
                folder=tmp_path / folder,
                save_every=2,
                workers=0,
                fingerprint=config.model_dump(mode="json"),
                progress=False,
            ),
        )

    return build


def state(trainer: StageTrainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def log(trainer: StageTrainer) -> list[dict[str, float]]:
    return tiny_training.records(trainer.options.folder / "log.jsonl")


@pytest.mark.parametrize("family", tiny_clip.FAMILIES)
@pytest.mark.parametrize("ovr", [None, {"weight": 0.1}])
def test_frozen_weights_stay_bit_identical(make: Make, family: str, ovr: dict[str, float] | None):
    trainer = make(family=family, ovr=ovr, steps=3)
    before = state(trainer)
    trainer.run()
    after = state(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved <= trainer.trained.keys()
    still = trainer.trained.keys() - moved
    assert {part.split(".")[0] for part in moved} >= {"pixel_decoder", "mask_decoder", "text_classifier"}
    assert any(name.startswith("encoder.visual_trunk") for name in moved) == (ovr is not None)
    assert len(still) < 0.1 * len(trainer.trained), still
    assert not trainer.network.training


def test_a_run_in_two_parts_ends_where_one_in_one_does(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Interrupted after the step that follows the last saved state."""
    straight = make("straight", schedule={"ema": 0.5}, ovr={})
    straight.run()
    halted = make("halted", schedule={"ema": 0.5}, ovr={})
    step = StageTrainer._step

    def halt(self: StageTrainer, number: int, crops: Any) -> dict[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, crops)

    monkeypatch.setattr(StageTrainer, "_step", halt)
    with pytest.raises(KeyboardInterrupt):
        halted.run()
    monkeypatch.undo()
    assert len(log(halted)) == 3
    resumed = make("halted", schedule={"ema": 0.5}, ovr={})
    assert resumed.first_step == 2
    torch.rand(7)  # another process has another random state
    resumed.run()
    assert log(resumed) == log(straight)
    for name, tensor in state(straight).items():
        assert torch.equal(tensor, state(resumed)[name]), name


def test_a_state_of_other_settings_is_refused(make: Make):
    make(steps=2).run()
    message = r"made with other settings \(schedule\.learning_rate: 0\.001 then, 0\.002 now\)"
    with pytest.raises(TrainingError, match=message):
        make(steps=2, schedule={"learning_rate": 0.002})


def test_a_finished_run_does_nothing_more(make: Make):
    make(steps=2).run()
    again = make(steps=2)
    before = state(again)
    again.run()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(again).items())
    assert len(log(again)) == 2


def test_the_gradient_is_clipped_as_a_whole(make: Make):
    trainer = make(steps=1, schedule={"max_grad_norm": 0.01, "warmup_steps": 0, "learning_rate": 1.0})
    before = state(trainer)
    trainer.optimizer = torch.optim.SGD(trainer.trained.values(), lr=1.0)
    trainer._peak_rates = [1.0]
    trainer.run()
    moved = [(tensor - before[name]).flatten() for name, tensor in state(trainer).items()]
    assert torch.cat(moved).norm().item() == pytest.approx(0.01, rel=0.01)
    assert log(trainer)[0]["grad_norm"] > 0.01


def test_a_few_steps_lower_the_loss(make: Make):
    trainer = make(steps=14, schedule={"learning_rate": 5e-3, "batch_size": 1}, loss={"points": 32})
    trainer.run()
    losses = [line["category"] + line["mask"] + line["dice"] for line in log(trainer)]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_learning_rates_follow_the_schedule_and_trackers_receive_every_step(make: Make):
    schedule = {"warmup_steps": 2, "reference_batch_size": 1, "milestones": [0.6]}
    trainer = make(steps=3, schedule=schedule, ovr={"encoder_lr_multiplier": 0.5})
    trainer.run()
    assert [line["learning_rate"] for line in log(trainer)] == pytest.approx([1e-3, 2e-3, 2e-4])
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert sorted(rates) == pytest.approx([1e-4, 2e-4])
    logged = trainer.accelerator.logged
    assert [step for step, _ in logged] == [0, 1, 2]
    assert logged[0][1]["run/mask"] == log(trainer)[0]["mask"]


def test_the_result_has_averaged_weights(make: Make):
    plain, averaged = make("plain", steps=2), make("averaged", steps=2, schedule={"ema": 0.25})
    start = state(plain)["text_classifier.void_embedding"]
    seen = []
    update = averaged.average.update  # type: ignore[union-attr]

    def remember(parameters: dict[str, Tensor]) -> None:
        seen.append(parameters["text_classifier.void_embedding"].detach().clone())
        update(parameters)

    averaged.average.update = remember  # type: ignore[union-attr,method-assign,assignment]
    plain.run()
    averaged.run()
    assert [line["mask"] for line in log(plain)] == [line["mask"] for line in log(averaged)]
    expected = 0.25 * (0.25 * start + 0.75 * seen[0]) + 0.75 * seen[1]
    torch.testing.assert_close(state(averaged)["text_classifier.void_embedding"], expected)


def test_micro_batches_change_only_the_denominators(make: Make):
    """Each part is divided by its own masks: equal parts give the same."""
    whole, parts = make("whole", steps=1), make("parts", steps=1, schedule={"micro_batch_size": 1})
    crops = [whole.samples[number] for number in range(4)]
    same = [crop for crop in crops if len(crop.targets.masks) == 2][:2]
    assert len(same) == 2
    for trainer in (whole, parts):
        trainer.record = trainer._step(0, same)  # type: ignore[attr-defined]
    for name in ("mask", "dice"):
        assert parts.record[name] == pytest.approx(whole.record[name], rel=1e-5)  # type: ignore[attr-defined]
    assert parts.record["category"] == pytest.approx(whole.record["category"], rel=0.1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_with_step_terms_and_images_and_keeps_the_weights(
    make: Make, broken: str
):
    network = tiny_clip.make_network("convnext")
    if broken == "loss":
        with torch.no_grad():
            network.pixel_decoder.mask_projection.bias.fill_(torch.nan)
    else:
        network.mask_decoder.query_features.register_hook(lambda gradient: gradient * torch.nan)
    trainer = make(network=network, schedule={"ema": 0.5})
    before = state(trainer)
    message = (
        r"not finite at step 0: \{'category': .*nan.*\}; images: images/full\d\.png, images/full\d\.png\."
    )
    with pytest.raises(TrainingError, match=message):
        trainer.run()
    for name, tensor in state(trainer).items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0, equal_nan=True)
    assert not trainer.state_path.exists()
    assert log(trainer) == []


def test_a_batch_that_cannot_be_divided_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(OneProcess, "num_processes", 3)
    with pytest.raises(
        ConfigError, match="a batch of 2 cannot be divided among 3 processes; choose a multiple"
    ):
        make()


def test_stochastic_depth_depends_on_seed_and_step_alone(make: Make, monkeypatch: pytest.MonkeyPatch):
    seeds: list[int] = []
    seed = torch.manual_seed
    monkeypatch.setattr(trainer_module.torch, "manual_seed", lambda value: seeds.append(value) or seed(value))
    make("a", steps=2).run()
    first = list(seeds)
    seeds.clear()
    make("b", steps=2).run()
    assert seeds == first


def test_a_worker_process_that_died_is_a_training_error():
    def items() -> Iterator[Any]:
        yield TrainingError("x")

    def killed() -> Iterator[Any]:
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly\nand more")
        yield

    def bug() -> Iterator[Any]:
        raise RuntimeError("a bug")
        yield

    with pytest.raises(TrainingError, match=r"^x$"):
        next(trainer_module._raise_errors(items()))
    with pytest.raises(
        TrainingError, match=r"\(pid\(s\) 7\) exited unexpectedly\); .*Use fewer workers, or none"
    ):
        next(trainer_module._raise_errors(killed()))
    with pytest.raises(RuntimeError, match="a bug"):
        next(trainer_module._raise_errors(bug()))


def test_a_tracker_on_a_full_disk_is_an_output_error(make: Make, monkeypatch: pytest.MonkeyPatch):
    def full(self: OneProcess, values: dict[str, float], step: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OneProcess, "log", full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        make(steps=1).run()
