import copy
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ovrcoat.data.panoptic_folder import PanopticFolder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training import trainer
from ovrcoat.training.crops import Cropper
from ovrcoat.training.trainer import (
    Source,
    TrainingError,
    TrainingSettings,
    draw,
    freeze_encoder,
    parameter_groups,
    rate_factor,
    resume,
    train_stage1,
    train_step,
)

SETTINGS = TrainingSettings(
    steps=4, batch_size=2, learning_rate=1e-3, warm_up=2, points=64, save_every=2, bfloat16=False
)
CROPPER = Cropper(64, scales=(0.9, 1.2), category_ids={"cat": 0, "sky": 1})


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """Three photos of two coloured halves, in two data sets."""
    return [
        Source(photos=write_photos(tmp_path / "two", 2), weight=0.7, indices=(0, 1)),
        Source(photos=write_photos(tmp_path / "one", 1), weight=0.3, indices=(0,)),
    ]


def write_photos(root: Path, count: int) -> PanopticFolder:
    for part in ("images", "panoptic"):
        (root / part).mkdir(parents=True)
    images, annotations = [], []
    for index in range(count):
        name = f"{root.name}{index}.png"
        ids = np.full((36, 48), 1, dtype=np.uint8)
        ids[:, 20 + 4 * index :] = 2
        pixels = np.where(ids[..., None] == 1, (220, 40, 20), (30, 90, 230)).astype(np.uint8)
        labels = np.stack([ids, 0 * ids, 0 * ids], axis=-1)
        Image.fromarray(pixels).save(root / "images" / name)
        Image.fromarray(labels).save(root / "panoptic" / name)
        images.append({"id": index, "file_name": name})
        segments = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}]
        annotations.append({"image_id": index, "file_name": name, "segments_info": segments})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "sky"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(data))
    return PanopticFolder(root)


@torch.no_grad()
def words(network: SegmentationNetwork) -> CategoryEmbeddings:
    return CategoryEmbeddings(network.embed_names(["cat", "sky"], ["{}"]), torch.tensor([0, 1]), 2)


def train(
    network: SegmentationNetwork, sources: list[Source], folder: Path, settings: TrainingSettings = SETTINGS
) -> None:
    train_stage1(
        network,
        sources,
        categories=words(network),
        cropper=CROPPER,
        settings=settings,
        folder=folder,
    )


def state(network: SegmentationNetwork) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


class PowerCutError(Exception):
    """Ends a run in the middle."""


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tiny_network: SegmentationNetwork,
    sources: list[Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    straight, halting, resumed = (copy.deepcopy(tiny_network) for _ in range(3))
    train(straight, sources, tmp_path / "straight")

    def halt(*parts: object, step: int, **more: object) -> dict[str, float]:
        if step == 3:  # one step after the last saved state
            raise PowerCutError
        return train_step(*parts, step=step, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "train_step", halt)
    with pytest.raises(PowerCutError):
        train(halting, sources, tmp_path / "halting")
    monkeypatch.undo()
    torch.rand(7)  # another process has another random state
    train(resumed, sources, tmp_path / "halting")

    for name, tensor in state(straight).items():
        assert torch.equal(tensor, state(resumed)[name]), name
    lines = (tmp_path / "halting" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 2, 3]
    assert not list(tmp_path.rglob("*.partial"))


def test_only_decoders_and_classifier_move(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path
):
    before = state(tiny_network)
    train(tiny_network, sources, tmp_path / "run", dataclasses.replace(SETTINGS, steps=2))
    moved = {name for name, tensor in state(tiny_network).items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"pixel_decoder", "mask_decoder", "text_classifier"}
    assert "text_classifier.void_embedding" in moved
    assert not tiny_network.training


def test_freezing_sets_every_parameter_and_mode(tiny_network: SegmentationNetwork):
    trained = freeze_encoder(tiny_network)
    for name, parameter in tiny_network.named_parameters():
        assert parameter.requires_grad == (not name.startswith("encoder."))
        assert (name in trained) == parameter.requires_grad
    assert not tiny_network.encoder.training
    assert tiny_network.pixel_decoder.training


def test_a_finished_run_does_nothing_more(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path
):
    settings = dataclasses.replace(SETTINGS, steps=2)
    train(tiny_network, sources, tmp_path / "run", settings)
    before = state(tiny_network)
    train(tiny_network, sources, tmp_path / "run", settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(tiny_network).items())
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2


def test_the_gradient_is_clipped_as_a_whole(tiny_network: SegmentationNetwork, sources: list[Source]):
    trained = freeze_encoder(tiny_network)
    before = state(tiny_network)
    settings = dataclasses.replace(SETTINGS, learning_rate=1.0, clip_norm=0.01)
    train_step(
        tiny_network,
        draw(sources, CROPPER, settings=settings, step=1),
        categories=words(tiny_network),
        optimiser=torch.optim.SGD(trained.values(), lr=9.0),  # the schedule sets the rate
        settings=settings,
        step=1,  # the last of the warm-up: the full rate
    )
    moved = [(tensor - before[name]).flatten() for name, tensor in state(tiny_network).items()]
    assert torch.cat(moved).norm().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_few_steps_on_one_photo_teach_it(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path, bfloat16: bool
):
    settings = dataclasses.replace(
        SETTINGS, steps=30, batch_size=1, learning_rate=5e-3, save_every=30, bfloat16=bfloat16
    )
    train(tiny_network, sources[1:], tmp_path / "run", settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["category"] + line["mask"] + line["dice"] for line in lines]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_loss_that_is_no_number_names_step_and_photos_and_keeps_the_weights(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path
):
    with torch.no_grad():
        tiny_network.pixel_decoder.mask_projection.bias.fill_(torch.nan)
    before = state(tiny_network)
    with pytest.raises(TrainingError, match=r"not finite at step 0: .*nan.*; photos: one0\.png, one0\.png\."):
        train(tiny_network, sources[1:], tmp_path / "run")
    for name, tensor in state(tiny_network).items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0, equal_nan=True)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_gradient_that_is_no_number_is_told_as_well(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path
):
    tiny_network.mask_decoder.query_features.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(TrainingError, match=r"not finite at step 0: .* gradient's norm nan; photos: "):
        train(tiny_network, sources, tmp_path / "run")
    assert torch.isfinite(tiny_network.mask_decoder.query_features).all()


def test_the_state_of_another_network_is_refused(
    tiny_network: SegmentationNetwork, sources: list[Source], tmp_path: Path
):
    train(tiny_network, sources, tmp_path, dataclasses.replace(SETTINGS, steps=1))
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    told = r"state\.pt belongs to another network; choose another folder, or delete it"
    with pytest.raises(TrainingError, match=told):
        resume(tmp_path / "state.pt", {"weight": nn.Parameter(torch.zeros(1))}, optimiser)
    reshaped = {
        name: nn.Parameter(torch.zeros(*parameter.shape, 1))
        for name, parameter in freeze_encoder(tiny_network).items()
    }
    with pytest.raises(TrainingError, match=told):
        resume(tmp_path / "state.pt", reshaped, optimiser)


def test_a_step_draws_the_same_photos_whatever_came_before(sources: list[Source]):
    first = draw(sources, CROPPER, settings=SETTINGS, step=3)
    torch.rand(5)
    torch.manual_seed(1)
    position = torch.get_rng_state()
    again = draw(sources, CROPPER, settings=SETTINGS, step=3)
    assert torch.equal(torch.get_rng_state(), position)
    assert [crop.file_name for crop in first] == [crop.file_name for crop in again]
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(first, again, strict=True))
    others = draw(sources, CROPPER, settings=dataclasses.replace(SETTINGS, seed=1), step=3)
    assert not torch.equal(first[0].pixels, others[0].pixels)


def test_data_sets_are_drawn_by_their_weights_and_only_allowed_photos(sources: list[Source]):
    allowed = [dataclasses.replace(sources[0], indices=(1,)), sources[1]]
    settings = dataclasses.replace(SETTINGS, batch_size=60)
    names = [crop.file_name for crop in draw(allowed, CROPPER, settings=settings, step=0)]
    assert set(names) == {"two1.png", "one0.png"}
    assert 30 < names.count("two1.png") < 54  # 42 expected, deviation 3.5


def test_the_rate_rises_then_falls_to_zero():
    settings = TrainingSettings(steps=100, warm_up=10)
    factors = [rate_factor(step, settings) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert rate_factor(0, TrainingSettings(steps=5, warm_up=0)) == 1


def test_embeddings_queries_and_numbers_do_not_decay(tiny_network: SegmentationNetwork):
    trained = freeze_encoder(tiny_network)
    plain, decaying = parameter_groups(trained, 0.05)
    assert (plain["weight_decay"], decaying["weight_decay"]) == (0.0, 0.05)
    names = {id(parameter): name for name, parameter in trained.items()}
    without = {names[id(parameter)] for parameter in plain["params"]}  # type: ignore[attr-defined]
    with_decay = {names[id(parameter)] for parameter in decaying["params"]}  # type: ignore[attr-defined]
    assert without | with_decay == trained.keys()
    assert not without & with_decay
    assert {
        "mask_decoder.query_features",
        "text_classifier.void_embedding",
        "text_classifier.logit_scale",
    } <= without
    assert {"mask_decoder.norm.weight", "pixel_decoder.level_embedding"} <= without
    assert "pixel_decoder.mask_projection.weight" in with_decay
