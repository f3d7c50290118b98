"""Stage 1 on one process: the encoder is frozen, the decoders and the void embedding train.

Samples depend on seed and step alone, so a run that was interrupted goes on exactly where it stopped.
"""

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from ovrcoat.data.panoptic_folder import PanopticFolder
from ovrcoat.errors import TrainingError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings, ImageBatch
from ovrcoat.training.crops import Crop, Cropper, collate
from ovrcoat.training.losses import LayerPrediction, segmentation_loss
from ovrcoat.training.matcher import LossWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Numbers of a stage-1 run."""

    steps: int
    batch_size: int = 4
    learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warm_up: int = 100  # steps over which the learning rate rises
    clip_norm: float = 1.0
    points: int = 2048  # sampled per mask and prediction; the published 12,544 are for crops of 1024²
    seed: int = 0
    save_every: int = 50  # steps
    bfloat16: bool = True  # matrix products of the network in bfloat16; losses stay in float32
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True, slots=True)
class Source:
    """A data set and how often it is drawn, relative to the others."""

    photos: PanopticFolder
    weight: float
    indices: tuple[int, ...]  # of the photos that may be trained on


def train_stage1(
    network: SegmentationNetwork,
    sources: Sequence[Source],
    *,
    categories: CategoryEmbeddings,
    cropper: Cropper,
    settings: TrainingSettings,
    folder: Path,
) -> None:
    """Train `network` in place; `folder` receives the log and the state to resume from.

    Raises:
        TrainingError: the loss or its gradient is not finite (the message holds step, terms and photos), or
            `folder` holds the state of another network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = freeze_encoder(network)
    optimiser = torch.optim.AdamW(parameter_groups(trained, settings.weight_decay), lr=settings.learning_rate)
    start = resume(folder / "state.pt", trained, optimiser)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as journal:
        for step in range(start, settings.steps):
            began = time.monotonic()
            crops = draw(sources, cropper, settings=settings, step=step)
            terms = train_step(
                network, crops, categories=categories, optimiser=optimiser, settings=settings, step=step
            )
            record = {"step": step, "seconds": round(time.monotonic() - began, 3), **terms}
            journal.write(json.dumps(record) + "\n")
            journal.flush()
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                save_state(folder / "state.pt", trained, optimiser, step=step + 1, settings=settings)
                log.info("step %d of %d: %s", step + 1, settings.steps, terms)
    network.eval()


def train_step(
    network: SegmentationNetwork,
    crops: Sequence[Crop],
    *,
    categories: CategoryEmbeddings,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    step: int,
) -> dict[str, float]:
    """Forward, loss, backward, clip, step; returns the weighted terms.

    Raises:
        TrainingError: the loss or its gradient is not finite; the parameters stay as they were.
    """
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * rate_factor(step, settings)
    torch.manual_seed(step_seed(settings, step))  # of the loss's random points
    device = network.encoder.device
    images, targets = collate(crops, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.bfloat16):
        predictions = predict_layers(network, images, categories)
    terms = segmentation_loss(predictions, targets, weights=settings.weights, points=settings.points)
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradient_norm = nn.utils.clip_grad_norm_(
        [parameter for group in optimiser.param_groups for parameter in group["params"]], settings.clip_norm
    )
    values = {name: round(term.item(), 5) for name, term in terms.items()}
    if not math.isfinite(sum(values.values()) + gradient_norm.item()):
        photos = ", ".join(crop.file_name for crop in crops)
        raise TrainingError(
            f"the loss or its gradient is not finite at step {step}: {values}, gradient's norm "
            f"{gradient_norm.item()}; photos: {photos}. Nothing of this step was kept; a smaller learning "
            "rate may help"
        )
    optimiser.step()
    return values


def predict_layers(
    network: SegmentationNetwork, images: ImageBatch, categories: CategoryEmbeddings
) -> list[LayerPrediction]:
    """Every prediction of the mask decoder against the training vocabulary, in float32.

    The encoder stays out of the graph.
    """
    with torch.no_grad():
        features = network.encoder(images)
    proposals = network.mask_decoder(network.pixel_decoder(features), every_layer=True)
    predictions = []
    for proposal in proposals:
        category_logits, void_logits = network.text_classifier(proposal.embeddings, categories)
        predictions.append(
            LayerPrediction(proposal.mask_logits.float(), category_logits.float(), void_logits.float())
        )
    return predictions


def step_seed(settings: TrainingSettings, step: int) -> int:
    """The seed of everything random in `step`, so that resuming needs no random state."""
    return settings.seed * 1_000_003 + step  # more than a run has steps: no two seeds share one


def draw(sources: Sequence[Source], cropper: Cropper, *, settings: TrainingSettings, step: int) -> list[Crop]:
    """The batch of `step`; the caller's random state stays as it was."""
    crops = []
    weights = torch.tensor([source.weight for source in sources])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(settings, step))
        for _ in range(settings.batch_size):
            source = sources[int(torch.multinomial(weights, 1))]
            photo = source.photos[source.indices[int(torch.randint(len(source.indices), ()))]]
            crops.append(cropper(photo))
    return crops


def freeze_encoder(network: SegmentationNetwork) -> dict[str, nn.Parameter]:
    """Set `requires_grad` of every parameter and the modes; returns what trains, by name."""
    network.train()
    network.encoder.eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith("encoder."))
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def parameter_groups(trained: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """No weight decay on what is named a norm, an embedding or a query, nor on single numbers."""
    plain = [
        name
        for name, parameter in trained.items()
        if "norm" in name or "embedding" in name or "query" in name or parameter.ndim == 0
    ]
    return [
        {"params": [trained[name] for name in plain], "weight_decay": 0.0},
        {
            "params": [parameter for name, parameter in trained.items() if name not in plain],
            "weight_decay": weight_decay,
        },
    ]


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a half cosine down to zero."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    progress = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return 0.5 * (1 + math.cos(math.pi * progress))


def save_state(
    path: Path,
    trained: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    *,
    step: int,
    settings: TrainingSettings,
) -> None:
    """Write what resuming needs, atomically."""
    state = {
        "step": step,
        "parameters": {name: parameter.detach() for name, parameter in trained.items()},
        "optimiser": optimiser.state_dict(),
        "settings": asdict(settings),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def resume(path: Path, trained: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> int:
    """Load the state in place, if there is one; returns the step to go on with.

    Raises:
        TrainingError: the state is not of these parameters.
    """
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    saved = {name: parameter.shape for name, parameter in state["parameters"].items()}
    if saved != {name: parameter.shape for name, parameter in trained.items()}:
        raise TrainingError(
            f"{path} belongs to another network; choose another folder, or delete it to start anew"
        )
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state["parameters"][name])
    optimiser.load_state_dict(state["optimiser"])
    step: int = state["step"]
    log.info("resuming at step %d", step)
    return step
