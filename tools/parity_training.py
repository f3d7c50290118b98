"""Repeat recorded training steps with this package's losses, at the recorded random points.

Images of a batch may have any sizes: images and masks are padded to a common size, as in the released code.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.checkpoints.published_names import PUBLISHED_NAMES, our_name
from ovrcoat.data.images import read_image
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.forward import Predictions, predict
from ovrcoat.training.losses import SegmentationLoss, Targets, segmentation_loss, target_probabilities
from ovrcoat.training.matcher import LossWeights, MatchingCost, matching_cost
from ovrcoat.training.ovr import ovr_loss
from ovrcoat.training.points import least_certain
from ovrcoat.training.stages import STAGES, parameter_groups
from parity_compare import TEXT_MEAN_TOLERANCE, Line, compare, compare_number, compare_relative
from parity_network import Subject, pad_together

TOTALS = {"released": "total_released", "oov_on_logits": "total_with_oov_on_logits"}
# The released code trains a ResNet with BatchNorm in training mode; these cases were recorded in that mode.
# This package never trains in it (see `Encoder.train`). Batch statistics amplify rounding errors, and the
# backward pass through every BatchNorm amplifies them again. The tolerances are therefore wider.
LIVE_CASES = ("pair", "one_empty", "all_empty")
LIVE_NOTE = "live BatchNorm"


@dataclass(frozen=True)
class Tolerances:
    """Tolerances of a case; `note` is printed with every number that they apply to.

    Attributes:
        losses: Of single losses.
        totals: Of the sum of all losses.
        gradients: Of the L2 norms of gradients.
        arrays: Of arrays, relative to their largest magnitude; None for the tolerances of `compare`.
    """

    losses: dict[str, float]
    totals: dict[str, float]
    gradients: dict[str, float]
    arrays: float | None = None
    note: str = ""

    def note_on(self, kind: dict[str, float]) -> str:
        """Return the note for a printed line, for example "live BatchNorm: tolerance 5e-02"."""
        return f"{self.note}: tolerance {kind['rtol']:.0e}" if self.note else ""


EXACT = Tolerances(
    losses={"rtol": 1e-5, "atol": 1e-7},
    totals={"rtol": 1e-5, "atol": 1e-7},
    gradients={"rtol": 1e-3, "atol": 1e-8},
)
LIVE = Tolerances(
    losses={"rtol": 5e-3, "atol": 1e-8},
    totals={"rtol": 1e-4, "atol": 1e-7},
    gradients={"rtol": 5e-2, "atol": 1e-8},
    arrays=2e-4,
    note=LIVE_NOTE,
)


class RecordedPoints:
    """A point source that returns the recorded points of a case."""

    def __init__(self, arrays: Mapping[str, Tensor], case: str) -> None:
        self.arrays, self.case = arrays, case

    def for_matching(self, image: int, *, prediction: int, count: int) -> Tensor:
        """Return the points at which the masks of one image were matched."""
        return self.arrays[f"{self.case}/layer{prediction}/matcher_points_item{image}"]

    def for_losses(self, mask_logits: object, *, prediction: int, count: int) -> Tensor:
        """Return the points at which the mask losses were computed."""
        return self.arrays[f"{self.case}/layer{prediction}/loss_points_final"]


@dataclass(frozen=True)
class Case:
    """A recorded case, repeated with a copy of the network."""

    network: SegmentationNetwork
    predictions: Predictions
    targets: tuple[Targets, ...]
    loss: SegmentationLoss
    costs: dict[str, MatchingCost]
    has_live_statistics: bool

    @property
    def tolerances(self) -> Tolerances:
        """Tolerances for all numbers of the case."""
        return LIVE if self.has_live_statistics else EXACT


def check_training(subject: Subject) -> Iterator[Line]:
    """Yield one line per recorded array, loss, assignment, gradient norm and parameter."""
    arrays = load_file(subject.folder / "training.safetensors")
    recorded: dict[str, Any] = json.loads((subject.folder / "training.json").read_text())
    parameters = recorded.pop("parameters")
    yield from _check_parameters(subject, parameters)
    for name, numbers in recorded.items():
        title = f"{subject.family}/training/{name}"
        case = compute(subject, name, arrays)
        yield from _check_arrays(title, case, name, arrays)
        yield from _check_losses(title, subject, case, numbers)
    for key in sorted(arrays):
        if key.startswith("inputs/"):
            yield Line.skipped(f"{subject.family}/training/{key}", "an input")
        elif key.split("/")[0] not in recorded:
            yield Line(f"{subject.family}/training/{key}", "unknown array")


def _arrays_of(arrays: Mapping[str, Tensor], case: str) -> list[str]:
    return sorted(key for key in arrays if key.startswith(f"{case}/"))


def compute(subject: Subject, case: str, arrays: Mapping[str, Tensor]) -> Case:
    """Run the images of a case through a network that trains in the second stage, and compute its losses."""
    indices = {"all_empty": (1,)}.get(case, tuple(range(len(subject.numbers["train_images"]))))
    emptied = {"one_empty": (1,), "all_empty": (1,)}.get(case, ())
    files = [subject.numbers["train_images"][index]["file"] for index in indices]
    images = pad_together(
        [read_image(subject.folder.parent / file).pixels for file in files],
        multiple=subject.numbers["size_divisibility"],
    )
    targets = tuple(_targets(arrays, index, images.padded_size, empty=index in emptied) for index in indices)
    network = copy.deepcopy(subject.network)
    STAGES["ovr"].prepare(network)
    statistics = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if case in LIVE_CASES:
        for module in statistics:
            module.train()
    predictions = predict(network, images, training_categories(subject), with_clip=True)
    weights = LossWeights()
    count = subject.numbers["loss"]["num_points"]
    points = RecordedPoints(arrays, case)
    loss = segmentation_loss(predictions.layers, targets, weights=weights, points=points, point_count=count)
    costs = {}
    for layer, prediction in enumerate(predictions.layers):
        logits = torch.cat((prediction.category_logits, prediction.void_logits[..., None]), -1)
        for image, target in enumerate(targets):
            costs[f"layer{layer}/item{image}"] = matching_cost(
                target_probabilities(logits[image].log_softmax(-1), target.category_ids),
                prediction.mask_logits[image],
                target.masks,
                points=points.for_matching(image, prediction=layer, count=count),
                weights=weights,
            )
    live = case in LIVE_CASES and bool(statistics)
    return Case(network, predictions, targets, loss, costs, live)


def training_categories(subject: Subject) -> CategoryEmbeddings:
    """Return the text embeddings of the training vocabulary."""
    vocabulary = subject.training_vocabulary
    owners = [index for index, category in enumerate(vocabulary.categories) for _ in category.names]
    return CategoryEmbeddings.shared(
        subject.text_embeddings(vocabulary).detach(), torch.tensor(owners), len(vocabulary)
    )


def _targets(arrays: Mapping[str, Tensor], index: int, size: tuple[int, int], *, empty: bool) -> Targets:
    """Pad the masks of an image with zeros to the size of the batch; every pixel counts as labeled."""
    masks = arrays[f"inputs/train{index}_masks"].bool()
    height, width = masks.shape[-2:]
    masks = F.pad(masks, (0, size[1] - width, 0, size[0] - height))
    ids = arrays[f"inputs/train{index}_labels"]
    kept = slice(0, 0) if empty else slice(None)
    return Targets(masks[kept], ids[kept], torch.ones(size, dtype=torch.bool))


def _check_arrays(title: str, case: Case, name: str, arrays: Mapping[str, Tensor]) -> Iterator[Line]:
    tolerances = case.tolerances
    for key in _arrays_of(arrays, name):
        rest = key.removeprefix(f"{name}/")
        ours = _computed(case, rest, arrays, name)
        if ours is None and re.search(r"_points_", rest):
            yield Line.skipped(f"{title}/{rest}", "an input")
        elif ours is None:
            yield Line(f"{title}/{rest}", "unknown array")
        elif tolerances.arrays is not None:
            note = f"{tolerances.note}: tolerance {tolerances.arrays:.0e}"
            yield compare_relative(
                f"{title}/{rest}", arrays[key], ours, tolerance=tolerances.arrays, note=note
            )
        else:
            yield compare(f"{title}/{rest}", arrays[key], ours, mean_tolerance=TEXT_MEAN_TOLERANCE)


def _computed(case: Case, rest: str, arrays: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Return our version of the array `name/rest`; None if it is an input, or unknown."""
    for pattern, compute_it in COMPUTED.items():
        if match := re.fullmatch(pattern, rest):
            return compute_it(case, *match.groups())
    match = re.fullmatch(r"layer(\d+)/loss_points_final", rest)
    source = f"{name}/layer{match[1]}/" if match else ""
    is_chosen = f"{source}loss_points_oversampled" in arrays  # the candidates were recorded, too
    if match and is_chosen and not case.has_live_statistics:  # rounding changes the order of similar points
        return _chosen_points(
            case,
            int(match[1]),
            candidates=arrays[f"{source}loss_points_oversampled"],
            anywhere=arrays[f"{source}loss_points_random"],
            count=arrays[f"{name}/{rest}"].shape[1],
        )
    return None


def _chosen_points(case: Case, layer: int, *, candidates: Tensor, anywhere: Tensor, count: int) -> Tensor:
    masks = [
        logits[pair.queries].detach()
        for logits, pair in zip(
            case.predictions.layers[layer].mask_logits, case.loss.assignments[layer], strict=True
        )
    ]
    chosen = least_certain(torch.cat(masks), candidates, keep=count - anywhere.shape[1])
    return torch.cat((chosen, anywhere), dim=1)


def _clip(case: Case, kind: str) -> Tensor:
    assert case.predictions.clip_logits is not None
    logits = case.predictions.clip_logits.detach()
    return logits if kind == "logits" else logits.softmax(-1)


def _cost(case: Case, layer: str, part: str, item: str) -> Tensor:
    return getattr(case.costs[f"{layer}/{item}"], "total" if part == "matrix" else part)


def _prediction(case: Case, layer: str, kind: str) -> Tensor:
    prediction = case.predictions.layers[int(layer)]
    if kind == "masks":
        return prediction.mask_logits.detach()
    return torch.cat((prediction.category_logits, prediction.void_logits[..., None]), -1).detach()


COMPUTED: dict[str, Callable[..., Tensor]] = {
    r"oov_cls_(logits|probs)": _clip,
    r"bn1_(running_mean|running_var)_after_forward": lambda case, name: getattr(
        case.network.encoder.visual_trunk.bn1, name
    ).clone(),
    r"(layer\d+)/cost_(mask|dice|matrix)_(item\d+)": _cost,
    r"layer(\d+)/pred_(logits|masks)": _prediction,
}


def _check_losses(title: str, subject: Subject, case: Case, numbers: dict[str, Any]) -> Iterator[Line]:
    """Yield lines for assignments, single losses, totals and gradient norms."""
    tolerances = case.tolerances
    losses = {**tolerances.losses, "note": tolerances.note_on(tolerances.losses)}
    totals = {**tolerances.totals, "note": tolerances.note_on(tolerances.totals)}
    last = len(case.predictions.layers) - 1
    for place, recorded in numbers["assignments"].items():
        layer, item = place.split("/")
        pairs = case.loss.assignments[int(layer.removeprefix("layer"))][int(item.removeprefix("item"))]
        same = pairs.queries.tolist() == recorded["query"] and pairs.targets.tolist() == recorded["target"]
        yield Line.verdict(f"{title}/assignments/{place}", same)
    names = {"loss_ce": "category", "loss_mask": "mask", "loss_dice": "dice"}
    for key, recorded in numbers["losses_unweighted"].items():
        if key == "loss_oov_ce":
            continue
        stem, _, layer = key.partition("_")[2].partition("_")
        ours = case.loss.terms[names[f"loss_{stem}"]].per_prediction()[int(layer) if layer else last]
        yield compare_number(f"{title}/{key}", recorded, ours.item(), **losses)
    assert case.predictions.clip_logits is not None
    segmentation = torch.stack([term.value() for term in case.loss.terms.values()]).sum()
    forms = {"released": "probabilities", "oov_on_logits": "logits", "without_oov": None}
    for kind, norms in numbers["grad_norms"].items():
        total = segmentation
        if forms[kind] is not None:
            ovr = ovr_loss(
                case.predictions.clip_logits,
                case.targets,
                case.loss.assignments[-1],
                weight=subject.numbers["loss"]["oov_ce_weight"],
                form=forms[kind],
            )
            key = "loss_oov_ce" if kind == "released" else "loss_oov_ce_on_logits"
            recorded = numbers["losses_unweighted"]["loss_oov_ce"] if kind == "released" else numbers[key]
            yield compare_number(f"{title}/{key}", recorded, ovr.per_prediction().sum().item(), **losses)
            total = total + ovr.value()
        recorded = numbers[TOTALS.get(kind, f"total_{kind}")]
        yield compare_number(f"{title}/total_{kind}", recorded, total.item(), **totals)
        yield from check_gradients(f"{title}/grad_norms/{kind}", case, total, norms)


def check_gradients(title: str, case: Case, total: Tensor, norms: dict[str, Any]) -> Iterator[Line]:
    """Yield one line per parameter; a recorded None means that no gradient reaches the parameter."""
    tolerance, note = case.tolerances.gradients, case.tolerances.note_on(case.tolerances.gradients)
    case.network.zero_grad(set_to_none=True)
    total.backward(retain_graph=True)
    named = dict(case.network.named_parameters())
    for key, recorded in norms.items():
        ours = our_name(key, PUBLISHED_NAMES)
        assert ours is not None
        gradient = named[ours].grad
        if recorded is None or gradient is None:
            reached = gradient is not None and bool(gradient.any())
            yield Line.verdict(f"{title}/{key}", not reached and not recorded)
        else:
            norm = float(gradient.norm())
            yield compare_number(f"{title}/{key}", recorded, norm, **tolerance, note=note)


def _check_parameters(subject: Subject, parameters: dict[str, Any]) -> Iterator[Line]:
    """Yield one line per parameter and stage for its learning rate and weight decay (None: frozen)."""
    numbers = subject.numbers["optimizer"]
    for number, stage in enumerate(STAGES.values(), start=1):
        groups = parameter_groups(
            subject.network, stage, learning_rate=numbers["base_lr"], weight_decay=numbers["weight_decay"]
        )
        ours = {name: [group["lr"], group["weight_decay"]] for group in groups for name in group["names"]}
        for key, recorded in parameters.items():
            name = our_name(key, PUBLISHED_NAMES)
            found = ours.get(name)
            expected = recorded[f"stage{number}_lr_wd"]
            same = (found is None) == (expected is None) and (
                found is None or torch.allclose(torch.tensor(found), torch.tensor(expected), rtol=1e-9)
            )
            yield Line.verdict(f"{subject.family}/training/parameters/stage{number}/{key}", same)
