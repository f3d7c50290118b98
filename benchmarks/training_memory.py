"""What a training step takes: measured on this CPU, and by calculation what fits in 24, 40 and 80 GB.

    python benchmarks/training_memory.py [--encoder convnext_large_d_320] [--size 512] [--batch 1]
        [--stage 2] [--precision float32] [--checkpoint] [--no-measurement] [--no-table]

Random weights, noise as images, 20 boxes as targets each, 12,544 points, AdamW. Measured: seconds of the
second step, and the peak of the resident memory of a process of its own.

Calculated: fixed are the float32 weights, their gradients and AdamW's two moments. What forward pass, losses
and backward pass hold at most beside these is counted, tensor by tensor, in real steps on small crops, and
continued: so much for each model, each image and each pixel of a photo. All maps have a fixed number of
values per pixel, so this is exact as long as the peak stays in the same place. Not counted: workspace inside
kernels, fragmentation and the CUDA context, for which 2 GB of each card are left free. A GPU's kernels may
keep other things for the backward pass (fused attention keeps less).
"""

import argparse
import time
import weakref
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from machine import describe, peak_memory, resident_memory
from processes import own_process
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ovrcoat.config import ModelConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.config import DataConfig, OvrConfig, ScheduleConfig, StageConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import Targets
from ovrcoat.training.objective import Objective
from ovrcoat.training.stages import parameter_groups, stage_of

TARGETS = 20  # masks of an image
CATEGORIES = 133  # COCO panoptic
COUNTED = (192, 320)  # sides of the crops that are counted, pixels
FULL = 1024  # the published crop
BATCHES = (1, 2, 4, 8)
CARDS = (24, 40, 80)  # GB
RESERVE = 2.0  # GB of each card, for what is not counted
GB = 1e9


def main() -> None:
    """Measure one step, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", default="convnext_large_d_320", choices=sorted(CLIP_ENCODERS))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpoint", action="store_true", help="checkpoint_activations: true")
    parser.add_argument("--no-measurement", action="store_true")
    parser.add_argument("--no-table", action="store_true")
    arguments = parser.parse_args()
    print(", ".join(f"{key}: {value}" for key, value in describe().items()))
    way = {
        "encoder": arguments.encoder,
        "stage": arguments.stage,
        "precision": arguments.precision,
        "checkpoint": arguments.checkpoint,
    }
    if not arguments.no_measurement:
        found = own_process("training_memory.measure", size=arguments.size, batch=arguments.batch, **way)
        print(
            f"{name_of(way)}, {arguments.batch} × {arguments.size}²: {found['seconds']:.1f} s per step, "
            f"peak {found['bytes'] / GB:.1f} GB resident, {found['libraries'] / GB:.1f} GB of it libraries"
        )
        wanted = own_process("training_memory.count", **way)
        print(f"by calculation {Need(**wanted).total(arguments.batch, arguments.size) / GB:.1f} GB\n")
    if not arguments.no_table:
        print(table(arguments.encoder))


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes: `fixed` whatever is trained on, the rest while a step runs."""

    fixed: float
    model: float
    image: float
    pixel: float

    def total(self, batch: int, size: int) -> float:
        """Of a step with `batch` square crops."""
        return self.fixed + self.model + batch * (self.image + self.pixel * size**2)

    def largest_batch(self, card: float) -> int:
        """How many published crops fit at once."""
        per_image = self.image + self.pixel * FULL**2
        return max(0, int(((card - RESERVE) * GB - self.fixed - self.model) // per_image))


def table(encoder: str) -> str:
    """What is needed at the published size, as Markdown."""
    head = ["crops of 1024²", *(f"batch {batch}" for batch in BATCHES)]
    head += [f"largest batch in {card} GB" for card in CARDS]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for stage, precision, checkpoint in product((1, 2), ("float32", "bfloat16"), (False, True)):
        way = {"encoder": encoder, "stage": stage, "precision": precision, "checkpoint": checkpoint}
        need = Need(**own_process("training_memory.count", **way))
        totals = [f"{need.total(batch, FULL) / GB:.1f} GB" for batch in BATCHES]
        lines.append([name_of(way), *totals, *(str(need.largest_batch(card)) for card in CARDS)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def name_of(way: dict[str, Any]) -> str:
    """A way to train in words."""
    return f"stage {way['stage']}, {way['precision']}{', recomputed' if way['checkpoint'] else ''}"


def measure(
    *, encoder: str, stage: int, precision: str, checkpoint: bool, size: int, batch: int
) -> dict[str, float]:
    """Seconds of the second step, and bytes of this process: its peak, and before the first tensor."""
    libraries = resident_memory()
    step = Step(encoder, stage=stage, precision=precision, checkpoint=checkpoint)
    crops = [make_crop(size, seed) for seed in range(batch)]
    for _ in range(2):
        began = time.perf_counter()
        step.optimiser.zero_grad(set_to_none=True)
        step.backward(crops)
        step.optimiser.step()
    return {"seconds": time.perf_counter() - began, "bytes": peak_memory(), "libraries": libraries}


def count(*, encoder: str, stage: int, precision: str, checkpoint: bool) -> dict[str, float]:
    """The fields of `Need`, from three steps on small crops."""
    step = Step(encoder, stage=stage, precision=precision, checkpoint=checkpoint)
    small, large = (side**2 for side in COUNTED)
    one, more, two = (
        step.peak([make_crop(side, seed) for seed in range(images)])
        for side, images in ((COUNTED[0], 1), (COUNTED[1], 1), (COUNTED[0], 2))
    )
    pixel = (more - one) / (large - small)
    image = two - one - pixel * small
    model = one - (two - one)
    return {"fixed": step.fixed, "model": model, "image": image, "pixel": pixel}


class Step:
    """A network of random weights, its losses and its optimiser."""

    def __init__(self, encoder: str, *, stage: int, precision: str, checkpoint: bool) -> None:
        torch.manual_seed(0)
        network = build_network(ModelConfig(encoder=CLIP_ENCODERS[encoder]))
        if checkpoint:
            recompute_activations(network)
        settings = StageConfig(
            name="step",
            data=(DataConfig(path="none"),),
            schedule=ScheduleConfig(steps=1),
            ovr=OvrConfig() if stage == 2 else None,
        )
        rows = F.normalize(torch.randn(CATEGORIES, network.encoder.embedding_dim), dim=-1)
        words = CategoryEmbeddings.shared(rows, torch.arange(CATEGORIES), CATEGORIES)
        bfloat16 = precision == "bfloat16"
        self.objective = Objective(network, settings, categories=words, bfloat16=bfloat16)
        kind = stage_of(settings)
        self.trained = kind.prepare(network)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(network, kind, learning_rate=1e-4, weight_decay=0.05)
        )

    @property
    def fixed(self) -> float:
        """Bytes of the weights, and of gradients and two moments of what trains."""
        weights = sum(tensor.nbytes for tensor in self.objective.state_dict().values())
        return weights + 3.0 * sum(parameter.nbytes for parameter in self.trained.values())

    def backward(self, crops: list[Crop]) -> None:
        """Losses and gradients."""
        torch.stack([term.value() for term in self.objective(crops).values()]).sum().backward()

    def peak(self, crops: list[Crop]) -> int:
        """Bytes that `backward` holds at most at one time, beside weights and gradients."""
        for parameter in self.trained.values():
            parameter.grad = torch.zeros_like(parameter)
        held = [*self.objective.state_dict().values(), *(p.grad for p in self.trained.values())]
        with LiveBytes(tensor for tensor in held if tensor is not None) as live:
            self.backward(crops)
        return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and not yet gone; `known` ones do not count."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, note its results."""
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return found

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def make_crop(size: int, seed: int) -> Crop:
    """Noise, and boxes side by side as masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(TARGETS, size, size, dtype=torch.bool)
    for place in range(TARGETS):
        masks[place, size // 4 :, place * size // TARGETS : (place + 1) * size // TARGETS] = True
    targets = Targets(masks, torch.arange(TARGETS), torch.ones(size, size, dtype=torch.bool))
    pixels = 255 * torch.rand(3, size, size, generator=generator)
    return Crop(f"noise {seed}", pixels, (size, size), targets, seed=seed)


if __name__ == "__main__":
    main()
