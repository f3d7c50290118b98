"""Measure the cost of OVR against encoding a crop of every mask, and against full fine-tuning.

    python benchmarks/ovr_cost.py [--model nano] [--images 4] [--size 320] [--masks 8] [--steps 5]

The images are synthetic and have `--masks` masks each. Each method runs in a process of its own. Printed are
the median time of a training step and the peak memory of the process. Stage 1, which trains no encoder, is
the baseline.

* ovr: CLIP features are computed once per image and pooled under every matched mask (as in the paper)
* crops: the box of every ground-truth mask is cropped, resized and encoded, as in earlier work
* full: as ovr, and the text tower, projection and norms train too; every step embeds all class names
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.structures import CategoryEmbeddings, ImageBatch
from ovrcoat.training.config import DataConfig, OvrConfig, ScheduleConfig, StageConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import Targets
from ovrcoat.training.objective import Objective
from ovrcoat.training.run import embed_vocabulary
from ovrcoat.training.stages import STAGES
from ovrcoat.vocabulary import Vocabulary

METHODS = ("stage 1", "ovr", "crops", "full")


def main() -> None:
    """Measure every method and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--masks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.method:
        print(json.dumps(measure(arguments)))
        return
    print(f"{arguments.images} images of {arguments.size}², {arguments.masks} masks each, {arguments.model}")
    for method in METHODS:
        command = [sys.executable, __file__, *sys.argv[1:], "--method", method]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{method:10} {found['seconds']:6.2f} s per step   peak {found['megabytes']:6.0f} MB")


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return median seconds per step and the peak memory of this process."""
    step = make_step(arguments)
    seconds = []
    for _ in range(1 + arguments.steps):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": statistics.median(seconds[1:]), "megabytes": peak}


def make_step(arguments: argparse.Namespace) -> Callable[[], None]:
    """Return a function that runs one forward and backward pass of the method."""
    segmenter = Segmenter.load(arguments.model, device="cpu")
    network = segmenter.network
    vocabulary = Vocabulary.named("coco")
    method = arguments.method
    settings = StageConfig(
        name=method,
        data=(DataConfig(path="none"),),
        schedule=ScheduleConfig(steps=1, batch_size=arguments.images),
        ovr=OvrConfig() if method in ("ovr", "full") else None,
    )
    settings = settings.model_copy(update={"loss": settings.loss.model_copy(update={"points": 1024})})
    templates = segmenter.config.templates
    categories = embed_vocabulary(network, vocabulary, templates)
    objective = Objective(network, settings, categories=categories, bfloat16=False)
    STAGES["segmentation" if method == "stage 1" else "ovr"].prepare(network)
    if method == "full":
        network.requires_grad_(True)
    crops = [make_crop(arguments, seed) for seed in range(arguments.images)]
    names = [name for category in vocabulary.categories for name in category.names]

    def step() -> None:
        network.zero_grad(set_to_none=True)
        if method == "full":
            objective.categories = CategoryEmbeddings.shared(
                network.embed_names(names, templates),
                categories.category_of_embedding,
                categories.category_count,
            )
        loss = torch.stack([term.value() for term in objective(crops).values()]).sum()
        if method == "crops":
            loss = loss + 0.1 * crop_loss(network.encoder, crops, categories.out_vocab)
        loss.backward()

    return step


def crop_loss(encoder: torch.nn.Module, crops: list[Crop], text_embeddings: Tensor) -> Tensor:
    """Return the cross-entropy of the crops of all masks, each resized and encoded separately."""
    crop_images, labels = [], []
    for crop in crops:
        for mask, label in zip(crop.targets.masks, crop.targets.category_ids, strict=True):
            y, x = mask.nonzero(as_tuple=True)
            bbox = (crop.pixels * mask)[:, y.min() : y.max() + 1, x.min() : x.max() + 1]
            crop_images.append(F.interpolate(bbox[None], size=crop.pixels.shape[1:], mode="bilinear")[0])
            labels.append(label)
    pixels = torch.stack(crop_images)
    size = (pixels.shape[2], pixels.shape[3])
    features = encoder(ImageBatch(pixels, (size,) * len(pixels)))
    everywhere = torch.ones(len(pixels), 1, size[0] // 4, size[1] // 4)
    embeddings = encoder.embed_masks(features.clip_features, everywhere).embeddings[:, 0]
    return F.cross_entropy(100 * F.normalize(embeddings, dim=-1) @ text_embeddings.T, torch.stack(labels))


def make_crop(arguments: argparse.Namespace, seed: int) -> Crop:
    """Return noise as an image, and adjacent boxes as masks."""
    torch.manual_seed(seed)
    size, count = arguments.size, arguments.masks
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for place in range(count):
        left, right = place * size // count, (place + 1) * size // count
        masks[place, size // 4 : size // 4 * 3, left:right] = True
    targets = Targets(masks, torch.arange(count), torch.ones(size, size, dtype=torch.bool))
    return Crop(f"noise {seed}", 255 * torch.rand(3, size, size), (size, size), targets, seed=seed)


if __name__ == "__main__":
    main()
