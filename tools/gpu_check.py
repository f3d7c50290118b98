"""Check this version on a GPU: python tools/gpu_check.py

Compares nano on the device with nano on the CPU, then measures throughput, a training step and peak memory.
It takes a few minutes and needs no network.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch

from ovrcoat import Segmenter, Vocabulary, __version__
from ovrcoat.config import InferenceConfig, ModelConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network
from ovrcoat.results import PanopticResult
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.system.devices import choose_device, list_devices
from ovrcoat.training.config import DataConfig, LossConfig, OvrConfig, ScheduleConfig, StageConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import Targets
from ovrcoat.training.objective import Objective
from ovrcoat.training.stages import parameter_groups, stage_of

VOCABULARY = "person; dog; car; tree#stuff; sky#stuff; road#stuff; grass#stuff; building#stuff"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LARGE = "convnext_large_d_320"
LARGE_BYTES = 12 * 2**30  # free memory that the large model is tried with


@dataclass(frozen=True)
class Difference:
    """How far a result is from that of the CPU in float32.

    Attributes:
        pixels: share of the pixels of the panoptic map with another class.
        mask_probability: mean absolute difference of the mask probabilities of the learned queries.
        score: largest absolute difference of the objectness of a learned query.
    """

    pixels: float
    mask_probability: float
    score: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all measurements; return the exit status."""
    options = parse(arguments)
    gpus = [name for name in list_devices() if name != "cpu"]
    if options.device is None and not gpus:
        print("no GPU on this machine; --device cpu runs the same checks on the CPU", file=sys.stderr)
        return 1
    try:
        device = choose_device(options.device or gpus[0])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"ovrcoat {__version__}, PyTorch {torch.__version__}, {describe(device)}")
    batch_sizes = [int(size) for size in options.batch_sizes.split(",")]
    image = sample_image(options.size)
    has_failed = print_parity(device, image)
    for dtype in DTYPES:
        print_throughput("nano", load_nano(device, dtype), image, batch_sizes, seconds=options.seconds)
    print_training(device, size=options.size, seconds=options.seconds)
    if options.large and has_room(device):
        for dtype in ("float32", "bfloat16"):
            segmenter = random_large(device, dtype)
            print_throughput(LARGE, segmenter, image, batch_sizes, seconds=options.seconds)
    return int(has_failed)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", help="cuda, cuda:1, mps or cpu; default: the first GPU")
    parser.add_argument("--batch-sizes", default="1,4,16", help="images per batch (default: 1,4,16)")
    parser.add_argument("--size", type=int, default=1024, help="side of the image, in pixels")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement")
    parser.add_argument("--no-large", dest="large", action="store_false", help="leave ConvNeXt-Large out")
    return parser.parse_args(arguments)


def describe(device: torch.device) -> str:
    """Return the device's name and memory."""
    if device.type != "cuda":
        return str(device)
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB), CUDA {torch.version.cuda}"


def sample_image(side: int) -> np.ndarray:
    """Return a photo if scikit-image is installed, and smooth colored noise otherwise."""
    from PIL import Image

    try:
        from skimage import data

        pixels = data.astronaut()
    except ImportError:
        pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def load_nano(device: torch.device, dtype: str = "float32") -> Segmenter:
    """Return nano; also in float16, which `Segmenter.load` does not offer."""
    segmenter = Segmenter.load("nano", device=device, text_cache=None)
    segmenter.network.set_image_dtype(DTYPES[dtype])
    return segmenter


def random_large(device: torch.device, dtype: str) -> Segmenter:
    """Return a network of the published size with random weights."""
    config = ModelConfig(encoder=CLIP_ENCODERS[LARGE], inference=InferenceConfig())
    torch.manual_seed(0)
    network = build_network(config)
    network.set_image_dtype(DTYPES[dtype])
    return Segmenter(
        network,
        config=config,
        training_vocabulary=Vocabulary.parse("person"),
        provenance={"source": "random weights"},
        device=device,
    )


def difference(segmenter: Segmenter, reference: Segmenter, image: np.ndarray) -> Difference:
    """Compare the panoptic results and the masks of two segmenters.

    Masks are compared query by query, so only those of the learned queries are: rounding changes which cells
    become selected queries, and in which order.
    """
    learned = reference.config.mask_decoder.queries
    encoded = [each.encode(image) for each in (segmenter, reference)]
    results = [
        each.explain(one, VOCABULARY) for each, one in zip((segmenter, reference), encoded, strict=True)
    ]
    probs, expected = (one.encoding.proposals.mask_logits.float().cpu().sigmoid() for one in encoded)
    maps = [class_map(each.result) for each in results]
    scores, expected_scores = (
        np.array([mask.objectness for mask in explanation.masks if mask.query < learned])
        for explanation in results
    )
    return Difference(
        pixels=float((maps[0] != maps[1]).mean()),
        mask_probability=float((probs - expected)[:, :learned].abs().mean()),
        score=float(np.abs(scores - expected_scores).max()),
    )


def class_map(result: PanopticResult) -> np.ndarray:
    """Return the category id of each pixel; 0 is void."""
    categories = np.zeros(len(result.segments) + 1, dtype=np.int64)
    for segment in result.segments:
        categories[segment.id] = segment.category_id
    return categories[result.id_map]


# Largest mean difference of the mask probabilities. On a CPU, bfloat16 gives 7e-3 and float16 1e-3. CUDA
# computes float32 convolutions in TF32, whose mantissa is as long as that of float16.
LIMITS = {"float32": 3e-3, "bfloat16": 3e-2, "float16": 3e-3}


def print_parity(device: torch.device, image: np.ndarray) -> bool:
    """Compare nano on the device with nano on the CPU; return whether a limit is exceeded."""
    print("\nnano, against the CPU in float32:")
    print("  dtype     pixels of another class  mean |Δ mask probability|  max |Δ objectness|")
    has_failed = False
    reference = load_nano(torch.device("cpu"))
    for dtype, limit in LIMITS.items():
        found = difference(load_nano(device, dtype), reference, image)
        failed = not found.mask_probability <= limit  # also for NaN
        has_failed |= failed
        print(
            f"  {dtype:9} {found.pixels:23.3%}  {found.mask_probability:25.2e}  {found.score:18.2e}"
            f"{f'  TOO FAR: the limit is {limit}' if failed else ''}"
        )
    return has_failed


def print_throughput(
    name: str, segmenter: Segmenter, image: np.ndarray, batch_sizes: Sequence[int], *, seconds: float
) -> None:
    """Print images per second, of the image branch alone and up to the result, and peak memory."""
    dtype = str(segmenter.network.image_dtype).removeprefix("torch.")
    print(f"\n{name}, {dtype}, image of {image.shape[1]} × {image.shape[0]} pixels:")
    prompt = segmenter.prompt(VOCABULARY)
    for size in batch_sizes:
        reset_peak(segmenter.device)
        try:
            encoding = rate(segmenter.encode_many(repeat(image), batch_size=size), size, seconds=seconds)
            complete = rate(
                segmenter.predict_many(repeat(image), prompt, batch_size=size), size, seconds=seconds
            )
        except torch.OutOfMemoryError:
            print(f"  batch of {size:2}: out of memory")
            return
        print(
            f"  batch of {size:2}: {encoding:7.2f} images/s encoded, {complete:7.2f} images/s complete"
            f"{peak(segmenter.device)}"
        )


def rate(results: Iterator[object], batch_size: int, *, seconds: float) -> float:
    """Return results per second. The first batch, which also chooses kernels, is not counted."""
    for _ in range(batch_size):
        next(results)
    synchronize()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(batch_size):
            next(results)
        count += batch_size
    synchronize()
    return count / (time.perf_counter() - began)


def print_training(device: torch.device, *, size: int, seconds: float) -> None:
    """Print the time of a training step of nano with OVR, in float32 and with autocast to bfloat16."""
    print(f"\ntraining step of nano with OVR, 2 crops of {size} × {size} pixels:")
    for bfloat16 in (False, True):
        reset_peak(device)
        step = training_step(device, size=size, bfloat16=bfloat16)
        first = step()
        synchronize()
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            last = step()
            count += 1
        synchronize()
        print(
            f"  {'bfloat16' if bfloat16 else 'float32':8}: {(time.perf_counter() - began) / count:6.3f} s, "
            f"loss {first:.3f} → {last:.3f}{peak(device)}"
        )


def training_step(device: torch.device, *, size: int, bfloat16: bool) -> Callable[[], float]:
    """Return a function that makes a training step on a fixed batch and returns the loss."""
    network = load_nano(device).network
    settings = StageConfig(
        name="check",
        data=(DataConfig(path="none"),),
        schedule=ScheduleConfig(steps=1),
        loss=LossConfig(),
        ovr=OvrConfig(),
    )
    generator = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(
        torch.randn(2, network.encoder.embedding_dim, generator=generator), dim=-1
    )
    categories = CategoryEmbeddings.shared(texts.to(device), torch.tensor([0, 1], device=device), 2)
    objective = Objective(network, settings, categories=categories, bfloat16=bfloat16)
    stage = stage_of(settings)
    stage.prepare(network)
    optimizer = torch.optim.AdamW(parameter_groups(network, stage, learning_rate=1e-4, weight_decay=0.05))
    crops = [sample_crop(size, seed) for seed in range(2)]

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.stack([term.value() for term in objective(crops).values()]).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def sample_crop(size: int, seed: int) -> Crop:
    """Return a noisy crop with two labeled halves."""
    pixels = torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)) * 255
    masks = torch.zeros(2, size, size, dtype=torch.bool)
    masks[0, :, : size // 2], masks[1, :, size // 2 :] = True, True
    targets = Targets(masks, torch.tensor([0, 1]), torch.ones(size, size, dtype=torch.bool))
    return Crop(str(seed), pixels, (size, size), targets, seed=seed)


def has_room(device: torch.device) -> bool:
    """Return whether the large model is worth a try; on a CPU it would take too long."""
    if device.type == "cpu":
        return False
    return device.type != "cuda" or torch.cuda.mem_get_info(device)[0] > LARGE_BYTES


def synchronize() -> None:
    """Wait for the device, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> str:
    """Return the peak memory as text, as far as the device reports it."""
    if device.type == "cuda":
        return f", peak memory {torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB"
    if device.type == "mps":
        return f", memory {torch.mps.driver_allocated_memory() / 2**20:,.0f} MiB"
    return ""


if __name__ == "__main__":
    sys.exit(main())
