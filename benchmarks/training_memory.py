"""Measure a training step on this CPU, and calculate which batches fit in 24, 40 and 80 GB.

    python benchmarks/training_memory.py [--encoder convnext_large_d_320] [--size 512] [--batch 1]
        [--stage 2] [--precision float32] [--checkpoint] [--no-measurement] [--no-table]

The step uses random weights, noise as images, 20 boxes per image as targets, 12,544 points and AdamW. It runs
in a process of its own. Measured are the seconds of the second step and the peak resident memory.

The calculation has a fixed part: the float32 weights, their gradients and the two moments of AdamW. The peak
of all other tensors in forward pass, losses and backward pass is counted, tensor by tensor, in real steps on
small crops. It is split into bytes per model, per image and per pixel, and extrapolated. All maps have a
fixed number of values per pixel, so the result is exact as long as the peak occurs at the same operation. Not
counted are workspaces inside kernels, fragmentation and the CUDA context; 2 GB of each card are reserved for
them. GPU kernels may keep other tensors for the backward pass (fused attention keeps fewer).
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
COUNTED = (192, 320)  # sides of the small crops, pixels
FULL = 1024  # side of the published crop, pixels
BATCHES = (1, 2, 4, 8)
CARDS = (24, 40, 80)  # GB of memory
RESERVE = 2.0  # GB of each card, for memory that is not counted
GB = 1e9


def main() -> None:
    """Measure one step and print the table."""
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
    setup = {
        "encoder": arguments.encoder,
        "stage": arguments.stage,
        "precision": arguments.precision,
        "checkpoint": arguments.checkpoint,
    }
    if not arguments.no_measurement:
        found = own_process("training_memory.measure", size=arguments.size, batch=arguments.batch, **setup)
        print(
            f"{setup_name(setup)}, {arguments.batch} × {arguments.size}²: {found['seconds']:.1f} s per step, "
            f"peak {found['bytes'] / GB:.1f} GB resident, {found['libraries'] / GB:.1f} GB of it libraries"
        )
        need = own_process("training_memory.count", **setup)
        print(f"by calculation {Need(**need).total(arguments.batch, arguments.size) / GB:.1f} GB\n")
    if not arguments.no_table:
        print(table(arguments.encoder))


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of a training step: `fixed` always, the others per model, image and pixel while a step runs."""

    fixed: float
    model: float
    image: float
    pixel: float

    def total(self, batch: int, size: int) -> float:
        """Return the bytes of a step with `batch` square crops."""
        return self.fixed + self.model + batch * (self.image + self.pixel * size**2)

    def largest_batch(self, card: float) -> int:
        """Return the largest batch of crops of the published size that fits."""
        per_image = self.image + self.pixel * FULL**2
        return max(0, int(((card - RESERVE) * GB - self.fixed - self.model) // per_image))


def table(encoder: str) -> str:
    """Return the memory at the published crop size as a Markdown table."""
    head = ["crops of 1024²", *(f"batch {batch}" for batch in BATCHES)]
    head += [f"largest batch in {card} GB" for card in CARDS]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for stage, precision, checkpoint in product((1, 2), ("float32", "bfloat16"), (False, True)):
        setup = {"encoder": encoder, "stage": stage, "precision": precision, "checkpoint": checkpoint}
        need = Need(**own_process("training_memory.count", **setup))
        totals = [f"{need.total(batch, FULL) / GB:.1f} GB" for batch in BATCHES]
        lines.append([setup_name(setup), *totals, *(str(need.largest_batch(card)) for card in CARDS)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def setup_name(setup: dict[str, Any]) -> str:
    """Return the name of a training configuration."""
    return f"stage {setup['stage']}, {setup['precision']}{', recomputed' if setup['checkpoint'] else ''}"


def measure(
    *, encoder: str, stage: int, precision: str, checkpoint: bool, size: int, batch: int
) -> dict[str, float]:
    """Measure seconds of the second step, and bytes of this process: peak, and before the first tensor."""
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
    """Return the fields of `Need`, from three steps on small crops."""
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
    """A network with random weights, its losses and its optimizer."""

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
        embeddings = F.normalize(torch.randn(CATEGORIES, network.encoder.embedding_dim), dim=-1)
        categories = CategoryEmbeddings.shared(embeddings, torch.arange(CATEGORIES), CATEGORIES)
        bfloat16 = precision == "bfloat16"
        self.objective = Objective(network, settings, categories=categories, bfloat16=bfloat16)
        kind = stage_of(settings)
        self.trained = kind.prepare(network)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(network, kind, learning_rate=1e-4, weight_decay=0.05)
        )

    @property
    def fixed(self) -> float:
        """Bytes of all weights, and of gradients and two moments of the trained ones."""
        weights = sum(tensor.nbytes for tensor in self.objective.state_dict().values())
        return weights + 3.0 * sum(parameter.nbytes for parameter in self.trained.values())

    def backward(self, crops: list[Crop]) -> None:
        """Compute losses and gradients."""
        torch.stack([term.value() for term in self.objective(crops).values()]).sum().backward()

    def peak(self, crops: list[Crop]) -> int:
        """Return the peak bytes of `backward`, without weights and gradients."""
        for parameter in self.trained.values():
            parameter.grad = torch.zeros_like(parameter)
        held = [*self.objective.state_dict().values(), *(p.grad for p in self.trained.values())]
        with LiveBytes(tensor for tensor in held if tensor is not None) as live:
            self.backward(crops)
        return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live tensors that are created inside the block; `known` ones do not count."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count its results."""
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
    """Return noise as an image, and adjacent boxes as masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(TARGETS, size, size, dtype=torch.bool)
    for place in range(TARGETS):
        masks[place, size // 4 :, place * size // TARGETS : (place + 1) * size // TARGETS] = True
    targets = Targets(masks, torch.arange(TARGETS), torch.ones(size, size, dtype=torch.bool))
    pixels = 255 * torch.rand(3, size, size, generator=generator)
    return Crop(f"noise {seed}", pixels, (size, size), targets, seed=seed)


if __name__ == "__main__":
    main()
