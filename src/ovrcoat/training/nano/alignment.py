"""Joins the towers: a linear map from pooled image features to the sentences' space.

1. Ridge regression from the normalised rows of ImageNet's classifier (what each class looks like) to the text
   embeddings of the classes' names and definitions. No image is needed.
2. A short refinement on named images and on what true masks cover: cross-entropy among each data set's own
   names, held near the ridge solution. This is OVR's loss, for the projection alone.
3. A temperature, chosen by likelihood on images that took no part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.errors import DatasetError

# The numbers below were chosen on held-out images of COCO, VOC and MSRC subsets.
RIDGE = 3.0  # times the mean diagonal of the Gram matrix; flat optimum between 1 and 10
STEPS = 200
SAMPLES = 512  # of each lesson and step
LEARNING_RATE = 1e-3
PULL = 0.03  # towards the ridge solution, per squared difference
TRAINING_SCALE = 20.0  # inverse temperature of the refinement
SCALES = (5, 100)  # inverse temperatures among which the calibration chooses
NUMBERS = (RIDGE, STEPS, SAMPLES, LEARNING_RATE, PULL, TRAINING_SCALE, SCALES)  # all that decides the result

Embed = Callable[[Sequence[str]], Tensor]  # texts → unit rows


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentSet:
    """Unit image features and the names that they should meet.

    Attributes:
        rows: unit text row of each of `names`.
        labels: positions in `names`.
        held_out: samples that teach nothing, kept for measuring.
    """

    title: str
    features: Float[Tensor, "sample channel"]
    labels: Int[Tensor, " sample"]
    names: tuple[str, ...]
    rows: Float[Tensor, "name embedding"]
    held_out: Bool[Tensor, " sample"]


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Unit features times `weight`ᵀ plus `bias`: embeddings (not normalised)."""

    weight: Float[Tensor, "embedding channel"]
    bias: Float[Tensor, " embedding"]

    def __call__(self, features: Float[Tensor, "sample channel"]) -> Float[Tensor, "sample embedding"]:
        """Unit rows in text space."""
        return F.normalize(F.linear(features, self.weight, self.bias), dim=-1)


def class_words() -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """WordNet id, names and definition of ImageNet's 1,000 classes in the classifier's order (from timm)."""
    from timm.data import ImageNetInfo  # three seconds

    info = ImageNetInfo()
    wnids = [info.index_to_label_name(index) for index in range(info.num_classes())]
    return tuple(
        (
            wnid,
            tuple(info.label_name_to_description(wnid).split(", ")),
            info.label_name_to_description(wnid, detailed=True),
        )
        for wnid in wnids
    )


def class_rows(
    words: Sequence[tuple[str, tuple[str, ...], str]], embed: Embed
) -> Float[Tensor, "category embedding"]:
    """One unit row per class: half the mean of its names, half its definition."""
    rows = []
    for _, names, definition in words:
        name_row = F.normalize(embed(names).mean(dim=0), dim=-1)
        rows.append(F.normalize(name_row + embed([definition])[0], dim=-1))
    return torch.stack(rows)


def ridge(
    inputs: Float[Tensor, "row channel"], outputs: Float[Tensor, "row embedding"], *, strength: float
) -> Float[Tensor, "channel embedding"]:
    """Least squares with a penalty (`strength` times the mean diagonal), on centred inputs and outputs."""
    inputs, outputs = inputs - inputs.mean(dim=0), outputs - outputs.mean(dim=0)
    gram = inputs.T @ inputs
    penalty = strength * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram + penalty, inputs.T @ outputs)


def fit_projection(classes: AlignmentSet, alignment_sets: Sequence[AlignmentSet], *, seed: int) -> Projection:
    """Teach the map: the ridge solution of `classes` (one feature row per class), refined on all lessons.

    The first of `alignment_sets` holds images of the classes; it also sets the ridge solution's length. A name whose
    samples are all held out takes no part: it would only be pushed away.

    Raises:
        DatasetError: a lesson has nothing that is not held out.
    """
    taught = [_taught(alignment_set) for alignment_set in (classes, *alignment_sets)]
    random = torch.Generator().manual_seed(seed)
    start = ridge(taught[0].features, taught[0].rows[taught[0].labels], strength=RIDGE)
    start = start / (taught[1].features @ start).norm(dim=-1).mean()
    weight, bias = nn.Parameter(start.clone()), nn.Parameter(torch.zeros(start.shape[1]))
    optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
    for _ in range(STEPS):
        loss = PULL * ((weight - start) ** 2).sum()
        for alignment_set in taught:
            chosen = torch.randint(len(alignment_set.features), (SAMPLES,), generator=random)
            embeddings = F.normalize(alignment_set.features[chosen] @ weight + bias, dim=-1)
            logits = TRAINING_SCALE * embeddings @ alignment_set.rows.T
            loss = loss + F.cross_entropy(logits, alignment_set.labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Projection(weight.detach().T.contiguous(), bias.detach())


def named_right(alignment_set: AlignmentSet, projection: Projection, *, held_out: bool) -> float | None:
    """Share of the samples that are nearest to their own name among the lesson's; None if there are none."""
    part = _part(alignment_set, alignment_set.held_out == held_out)
    if not len(part.features):
        return None
    nearest = (projection(part.features) @ part.rows.T).argmax(dim=-1)
    return float((nearest == part.labels).float().mean())


def calibrate(alignment_sets: Sequence[AlignmentSet], projection: Projection) -> float:
    """The inverse temperature of least cross-entropy on held-out samples, each among all lessons' names."""
    row_of = {
        name: row
        for alignment_set in alignment_sets
        for name, row in zip(alignment_set.names, alignment_set.rows, strict=True)
    }  # a name has the same row in every lesson
    place = {name: position for position, name in enumerate(row_of)}
    parts = [_part(alignment_set, alignment_set.held_out) for alignment_set in alignment_sets]
    embeddings = projection(torch.cat([part.features for part in parts]))
    cosines = embeddings @ torch.stack(list(row_of.values())).T
    labels = torch.tensor([place[part.names[label]] for part in parts for label in part.labels.tolist()])
    scales = torch.arange(SCALES[0], SCALES[1] + 1)
    losses = torch.stack([F.cross_entropy(scale * cosines, labels) for scale in scales])
    return float(scales[losses.argmin()])


def _taught(alignment_set: AlignmentSet) -> AlignmentSet:
    """The samples that teach, among their own names."""
    part = _part(alignment_set, ~alignment_set.held_out)
    if not len(part.features):
        raise DatasetError(
            f"{alignment_set.title}: all images are held out, none is left to teach; lower held_out"
        )
    used, labels = torch.unique(part.labels, return_inverse=True)
    names = tuple(part.names[place] for place in used.tolist())
    return AlignmentSet(part.title, part.features, labels, names, part.rows[used], part.held_out)


def _part(alignment_set: AlignmentSet, chosen: Bool[Tensor, " sample"]) -> AlignmentSet:
    """Only the chosen samples."""
    return AlignmentSet(
        alignment_set.title,
        alignment_set.features[chosen],
        alignment_set.labels[chosen],
        alignment_set.names,
        alignment_set.rows,
        alignment_set.held_out[chosen],
    )
