"""The image path and a training step on a simulated CUDA device (tests/simulated_device.py).

They find tensors on the wrong device, hidden copies to the CPU and mixed dtypes without a GPU.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

import tiny_clip
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import find_model
from ovrcoat.choices import TASKS
from ovrcoat.config import InferenceConfig, ModelConfig, TextTransferConfig
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.results import InstanceResult
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.config import DataConfig, LossConfig, OvrConfig, ScheduleConfig, StageConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import UNNAMED, Targets
from ovrcoat.training.objective import Objective
from ovrcoat.training.samples import Samples
from ovrcoat.training.stages import stage_of
from ovrcoat.training.trainer import RunOptions, StageTrainer
from ovrcoat.vocabulary import Vocabulary
from simulated_device import DEVICE, DeviceTensor, on_cpu, simulated_device

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.cuda.is_available(), reason="this machine has a CUDA device, which test_gpu.py uses"
    ),
]
MODELS = ("nano", "convnext", "resnet", "maft+ panoptic", "maft+ semantic")
VOCABULARY = "person; rocket; flag; sky#stuff"
# where the CPU may wait for the device once the image is encoded: scores are copied once, maps in blocks
HAND_OVER = "postprocessing/scoring.py"
MAPS = {
    "panoptic": {"postprocessing/duplicates.py", "postprocessing/pixel_assignment.py"},
    "semantic": {"postprocessing/semantic.py"},
    "instance": {"postprocessing/instance.py"},
}


def model(name: str) -> tuple[SegmentationNetwork, ModelConfig]:
    if name == "nano":
        loaded = native.load(find_model("nano"))
        config = loaded.config.model_dump() | {"inference": {"short_side": 96, "max_long_side": 128}}
        return loaded.network, ModelConfig.model_validate(config)
    family, _, arrangement = name.replace("maft+", "convnext").partition(" ")
    transfer = TextTransferConfig(heads=2, arrangement=arrangement) if arrangement else None  # type: ignore[arg-type]
    config = tiny_clip.make_config(family, transfer=transfer)
    settings = InferenceConfig(
        short_side=64, max_long_side=96, overlap_threshold=0.0, object_mask_threshold=0.0
    )
    return tiny_clip.make_network(family, transfer=transfer), config.model_copy(
        update={"inference": settings}
    )


def segmenter(name: str, *, device: str, dtype: torch.dtype = torch.float32) -> Segmenter:
    network, config = model(name)
    network.set_image_dtype(dtype)
    return Segmenter(
        network,
        config=config,
        training_vocabulary=Vocabulary.parse("person; sky#stuff"),
        provenance={},
        device=device,
    )


def photo() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:150, 40:240])


def pixels_of(result: AnyResult) -> np.ndarray:
    """The pixels of a result: its map, or its masks."""
    if isinstance(result, InstanceResult):
        return np.stack([mask.unpack() for mask in result.masks]) if result.masks else np.zeros(1)
    return result.segment_map()


@pytest.mark.parametrize("name", MODELS)
def test_all_results_are_those_of_the_cpu(name: str):
    expected = {task: segmenter(name, device="cpu").segment(photo(), VOCABULARY, task=task) for task in TASKS}
    with simulated_device() as traffic:
        on_device = segmenter(name, device="cuda")
        prompts = {task: on_device.prompt(VOCABULARY, task=task) for task in TASKS}
        start = len(traffic.waits())
        encoded = on_device.encode(photo())
        assert isinstance(encoded.encoding.proposals.mask_logits, DeviceTensor)
        assert len(traffic.waits()) == start, "the image branch waits for the device"
        results = {}
        for task in TASKS:
            traffic.clear()
            results[task] = encoded.predict(prompts[task])
            assert traffic.waits() <= MAPS[task] | {HAND_OVER}
            assert traffic.waits() >= {HAND_OVER}
    for task, result in results.items():
        assert [segment.category for segment in result.segments] == [
            segment.category for segment in expected[task].segments
        ]
        different = pixels_of(result) != pixels_of(expected[task])
        assert different.mean() < 1e-3
        for segment, other in zip(result.segments, expected[task].segments, strict=True):
            assert segment.score == pytest.approx(other.score, abs=1e-4)
            assert segment.objectness == pytest.approx(other.objectness, abs=1e-4)


def test_the_number_of_waits_does_not_depend_on_the_number_of_segments():
    counts = []
    for vocabulary in ("person", "person; rocket; flag; sky#stuff; helmet; suit"):
        with simulated_device() as traffic:
            on_device = segmenter("convnext", device="cuda")
            prompt = on_device.prompt(vocabulary, task="instance", background="none")
            encoded = on_device.encode(photo())
            traffic.clear()
            counts.append((encoded.predict(prompt).segments, traffic.to_cpu + traffic.reads))
    (few, waits), (many, waits_of_many) = counts
    assert len(few) < len(many)
    assert waits == waits_of_many


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODELS)
def test_masks_and_features_have_the_requested_dtype(name: str, dtype: torch.dtype):
    with simulated_device():
        on_device = segmenter(name, device="cuda", dtype=dtype)
        encoded = on_device.encode(photo())
        results = [on_device.segment(encoded, VOCABULARY, task=task) for task in TASKS]
    assert encoded.encoding.proposals.mask_logits.dtype == dtype
    assert on_cpu(encoded.encoding.proposals.mask_logits).isfinite().all()
    assert all(0 <= segment.score <= 1 for result in results for segment in result.segments)


def test_explanations_and_own_masks_work_on_the_device():
    masks = np.zeros((2, *photo().shape[:2]), dtype=bool)
    masks[0, :80], masks[1, 20:60, 30:90] = True, True
    expected = segmenter("nano", device="cpu")
    with simulated_device():
        on_device = segmenter("nano", device="cuda")
        encoded = on_device.encode(photo())
        explanation = on_device.explain(encoded, VOCABULARY, trust="adaptive")
        labels = on_device.classify_masks(encoded, masks, VOCABULARY)
        overlaps = encoded.overlaps(masks[0].astype(np.int32), region_count=2)
    reference = expected.explain(photo(), VOCABULARY, trust="adaptive")
    assert [mask.status for mask in explanation.masks] == [mask.status for mask in reference.masks]
    same_labels = expected.classify_masks(photo(), masks, VOCABULARY)
    assert [label.category for label in labels] == [label.category for label in same_labels]
    assert overlaps.regions.sum() == masks[0].size


def plant(monkeypatch: pytest.MonkeyPatch, mistake: Callable[[Tensor], object]) -> None:
    """Make a mistake wherever mask logits are computed."""
    masks = MaskDecoder.masks

    def wrong(decoder: MaskDecoder, *arguments: Any, **options: Any) -> Tensor:
        logits = masks(decoder, *arguments, **options)
        mistake(logits)
        return logits

    monkeypatch.setattr(MaskDecoder, "masks", wrong)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda logits: logits + torch.zeros(5, 1, 1), "same device"),
        (lambda logits: logits.numpy(), "to numpy"),
        (lambda logits: logits.double(), "float64"),
        (lambda logits: logits.flatten()[:4] @ torch.ones(4, device=logits.device).half(), "same dtype"),
    ],
)
def test_a_mistake_is_found(
    mistake: Callable[[Tensor], object], message: str, monkeypatch: pytest.MonkeyPatch
):
    """The tests of this file can fail."""
    plant(monkeypatch, mistake)
    with simulated_device(), pytest.raises((RuntimeError, TypeError), match=message):
        segmenter("convnext", device="cuda").encode(photo())


@pytest.mark.parametrize(
    "mistake",
    [lambda logits: logits.max().item(), lambda logits: logits.cpu(), lambda logits: logits[logits > 0]],
)
def test_a_hidden_wait_is_found(mistake: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch):
    plant(monkeypatch, mistake)
    with simulated_device() as traffic:
        segmenter("convnext", device="cuda").encode(photo())
    assert traffic.waits() == {"model/mask_decoder.py"}


def crop(seed: int, *category_ids: int) -> Crop:
    """A noisy image with a vertical strip per category; a part of the first image is not labeled."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(3, 64, 64, generator=generator) * 255
    masks = torch.zeros(len(category_ids), 64, 64, dtype=torch.bool)
    for place, mask in enumerate(masks):
        mask[:, 20 * place : 20 * place + 20] = True
    labeled = torch.ones(64, 64, dtype=torch.bool)
    labeled[:, 60:] = seed > 0
    ids = torch.tensor(category_ids, dtype=torch.long)
    return Crop(f"{seed}.png", pixels, (64, 64), Targets(masks, ids, labeled), seed=seed)


def trainer_of(
    name: str, folder: Path, *, device: torch.device, bfloat16: bool, recompute: bool
) -> StageTrainer:
    network, _ = model(name)
    # a released MAFT+ model cannot be trained, but its network has the same parts
    network = network.to(device).to(memory_format=torch.channels_last)
    if recompute:
        recompute_activations(network)
    settings = StageConfig(
        name="joint",
        data=(DataConfig(path="x"),),
        schedule=ScheduleConfig(
            steps=2, batch_size=2, learning_rate=1e-2, max_grad_norm=0.5, ema=0.9, warmup_steps=1
        ),
        loss=LossConfig(points=48),
        ovr=OvrConfig(),
    )
    size = network.encoder.embedding_dim
    texts = torch.nn.functional.normalize(torch.randn(2, size, generator=torch.Generator().manual_seed(0)))
    categories = CategoryEmbeddings.shared(texts.to(device), torch.tensor([0, 1]).to(device), 2)
    accelerator = SimpleNamespace(
        num_processes=1,
        process_index=0,
        is_main_process=True,
        prepare_model=lambda objective: objective,
        backward=lambda loss: loss.backward(),
        reduce=lambda tensor, reduction: tensor,
        no_sync=lambda objective: nullcontext(),
    )
    return StageTrainer(
        Objective(network, settings, categories=categories, bfloat16=bfloat16),
        stage_of(settings),
        object.__new__(Samples),  # not read: each step receives its crops
        accelerator=accelerator,
        seed=1,
        options=RunOptions(folder=folder, save_every=9, workers=0, fingerprint={}),
    )


def train_step(trainer: StageTrainer) -> tuple[dict[str, float], dict[str, Tensor]]:
    trainer.network.encoder.visual_trunk.eval()  # no stochastic depth
    record = trainer._step(0, [crop(0, 0, UNNAMED), crop(1, 1), crop(2)])
    assert trainer.average is not None
    return record, {name: on_cpu(value) for name, value in trainer.average.values.items()}


@pytest.mark.parametrize(
    ("name", "bfloat16", "recompute"),
    [("nano", False, False), ("convnext", False, True), ("convnext", True, True), ("resnet", True, False)],
)
def test_a_training_step_is_that_of_the_cpu(name: str, bfloat16: bool, recompute: bool, tmp_path: Path):
    expected, weights = train_step(
        trainer_of(name, tmp_path, device=torch.device("cpu"), bfloat16=bfloat16, recompute=False)
    )
    with simulated_device() as traffic:
        trainer = trainer_of(name, tmp_path, device=DEVICE, bfloat16=bfloat16, recompute=recompute)
        traffic.clear()
        record, weights_on_device = train_step(trainer)
        waits = traffic.to_cpu + traffic.reads
    assert record == pytest.approx(expected, rel=0.05 if bfloat16 else 1e-3)
    assert record["grad_norm"] > 0
    for key, weight in weights.items():
        torch.testing.assert_close(weights_on_device[key], weight, atol=3e-3 if bfloat16 else 1e-4, rtol=0)
    # the matching on the CPU; which images are fully labeled; the numbers of the log
    assert {line.split(":")[0] for line in waits} == {
        "training/matcher.py",
        "training/losses.py",
        "training/trainer.py",
    }
    assert sum(waits.values()) == 3, waits
