"""nano on a real GPU, against the CPU. `pytest -m gpu` runs these tests; machines without a GPU skip them."""

from types import ModuleType

import pytest
import torch

from ovrcoat.system.devices import list_devices
from tool_modules import load_tool

GPUS = [name for name in list_devices() if name != "cpu"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="this machine has no CUDA or MPS device"),
    pytest.mark.slow,
]
SIDE = 480


@pytest.fixture
def check() -> ModuleType:
    return load_tool("gpu_check")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_nano_gives_the_results_of_the_cpu(check: ModuleType, dtype: str):
    device, image = torch.device(GPUS[0]), check.sample_image(SIDE)
    reference = check.load_nano(torch.device("cpu"))
    found = check.difference(check.load_nano(device, dtype), reference, image)
    assert found.mask_probability <= check.LIMITS[dtype]
    assert found.pixels < (0.01 if dtype == "float32" else 0.2)
    assert found.score < (0.02 if dtype == "float32" else 0.3)


def test_batches_give_the_results_of_single_images(check: ModuleType):
    segmenter, image = check.load_nano(torch.device(GPUS[0])), check.sample_image(SIDE)
    single = segmenter.segment(image, check.VOCABULARY)
    for _, result in segmenter.segment_many([image] * 3, check.VOCABULARY, batch_size=3):
        assert (check.class_map(result) != check.class_map(single)).mean() < 0.01


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_reduces_the_loss(check: ModuleType, bfloat16: bool):
    step = check.training_step(torch.device(GPUS[0]), size=256, bfloat16=bfloat16)
    losses = [step() for _ in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA reports peak memory")
def test_memory_does_not_grow_with_the_number_of_images(check: ModuleType):
    device = torch.device(GPUS[0])
    segmenter, image = check.load_nano(device), check.sample_image(SIDE)
    peaks = []
    for count in (2, 20):
        check.reset_peak(device)
        for _ in segmenter.segment_many([image] * count, check.VOCABULARY):
            pass
        peaks.append(torch.cuda.max_memory_allocated(device))
    assert peaks[1] <= 1.05 * peaks[0]
