"""Fit the linear map from pooled image features to the text embedding space.

1. Ridge regression from the normalized weights of ImageNet's classifier, one vector per class, to the text
   embeddings of the classes' names and definitions. This step uses no images.
2. A short refinement on image features of known classes: cross-entropy among the classes of each dataset,
   with a penalty on the distance from the ridge solution. It is the OVR loss, for the projection alone.
3. The temperature with the highest likelihood on held-out features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.errors import DatasetError

# These values were chosen on held-out images of subsets of COCO, VOC and MSRC.
RIDGE = 3.0  # relative to the mean diagonal of the Gram matrix; the optimum between 1 and 10 is flat
STEPS = 200
SAMPLES = 512  # per step and alignment set
LEARNING_RATE = 1e-3
PENALTY = 0.03  # on the squared distance from the ridge solution
TRAINING_SCALE = 20.0  # inverse temperature of the refinement
SCALES = (5, 100)  # range of the inverse temperatures that the calibration tries
CONSTANTS = (RIDGE, STEPS, SAMPLES, LEARNING_RATE, PENALTY, TRAINING_SCALE, SCALES)

Embed = Callable[[Sequence[str]], Tensor]  # texts → unit text embeddings


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """A class of ImageNet-1k: WordNet id, names and definition."""

    wnid: str
    names: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentSet:
    """Unit image features with the classes that they show.

    Attributes:
        title: name of the dataset, for messages.
        features: one unit vector per sample.
        labels: index in `names` of each sample.
        names: of the classes.
        text_embeddings: unit text embedding of each name.
        held_out: samples that are not trained on.
    """

    title: str
    features: Float[Tensor, "sample channel"]
    labels: Int[Tensor, " sample"]
    names: tuple[str, ...]
    text_embeddings: Float[Tensor, "name embedding"]
    held_out: Bool[Tensor, " sample"]

    def select(self, chosen: Bool[Tensor, " sample"]) -> "AlignmentSet":
        """Return only the chosen samples, with all names."""
        return AlignmentSet(
            self.title,
            self.features[chosen],
            self.labels[chosen],
            self.names,
            self.text_embeddings,
            self.held_out[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Affine map from unit image features to the text embedding space."""

    weight: Float[Tensor, "embedding channel"]
    bias: Float[Tensor, " embedding"]

    def __call__(self, features: Float[Tensor, "sample channel"]) -> Float[Tensor, "sample embedding"]:
        """Return unit embeddings."""
        return F.normalize(F.linear(features, self.weight, self.bias), dim=-1)


def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """Return the 1,000 classes of ImageNet-1k in the order of the classifier (from timm)."""
    from timm.data import ImageNetInfo  # takes three seconds

    info = ImageNetInfo()
    return tuple(
        ImageNetClass(
            wnid,
            tuple(info.label_name_to_description(wnid).split(", ")),
            info.label_name_to_description(wnid, detailed=True),
        )
        for wnid in map(info.index_to_label_name, range(info.num_classes()))
    )


def embed_classes(classes: Sequence[ImageNetClass], embed: Embed) -> Float[Tensor, "category embedding"]:
    """Return one unit embedding per class: the mean of its averaged names and its definition."""
    embeddings = []
    for entry in classes:
        names = F.normalize(embed(entry.names).mean(dim=0), dim=-1)
        embeddings.append(F.normalize(names + embed([entry.definition])[0], dim=-1))
    return torch.stack(embeddings)


def ridge(
    inputs: Float[Tensor, "sample channel"], outputs: Float[Tensor, "sample embedding"], *, strength: float
) -> Float[Tensor, "channel embedding"]:
    """Ridge regression on centered inputs and outputs.

    Args:
        inputs: one row per sample.
        outputs: likewise.
        strength: of the penalty, relative to the mean diagonal of the Gram matrix.
    """
    inputs, outputs = inputs - inputs.mean(dim=0), outputs - outputs.mean(dim=0)
    gram = inputs.T @ inputs
    penalty = strength * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram + penalty, inputs.T @ outputs)


def fit_projection(classes: AlignmentSet, alignment_sets: Sequence[AlignmentSet], *, seed: int) -> Projection:
    """Fit the projection: ridge regression on `classes`, then refinement on all sets.

    Classes whose samples are all held out are left out, as their names would only serve as negatives.

    Args:
        classes: one feature vector per class.
        alignment_sets: the first one contains images of the same classes; it also determines the length of
            the ridge solution.
        seed: of the random batches.

    Raises:
        DatasetError: all samples of a set are held out.
    """
    training_sets = [_training_part(alignment_set) for alignment_set in (classes, *alignment_sets)]
    random = torch.Generator().manual_seed(seed)
    ridge_classes = training_sets[0]
    start = ridge(ridge_classes.features, ridge_classes.text_embeddings[ridge_classes.labels], strength=RIDGE)
    start = start / (training_sets[1].features @ start).norm(dim=-1).mean()
    weight, bias = nn.Parameter(start.clone()), nn.Parameter(torch.zeros(start.shape[1]))
    optimizer = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
    for _ in range(STEPS):
        loss = PENALTY * ((weight - start) ** 2).sum()
        for part in training_sets:
            chosen = torch.randint(len(part.features), (SAMPLES,), generator=random)
            embeddings = F.normalize(part.features[chosen] @ weight + bias, dim=-1)
            logits = TRAINING_SCALE * embeddings @ part.text_embeddings.T
            loss = loss + F.cross_entropy(logits, part.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Projection(weight.detach().T.contiguous(), bias.detach())


def accuracy(alignment_set: AlignmentSet, projection: Projection, *, held_out: bool) -> float | None:
    """Return the share of samples whose nearest text embedding in the set is that of their class.

    Args:
        alignment_set: the samples.
        projection: the fitted map.
        held_out: evaluate the held-out samples, or the others.

    Returns:
        0 to 1, or None without samples.
    """
    part = alignment_set.select(alignment_set.held_out == held_out)
    if not len(part.features):
        return None
    nearest = (projection(part.features) @ part.text_embeddings.T).argmax(dim=-1)
    return float((nearest == part.labels).float().mean())


def calibrate(alignment_sets: Sequence[AlignmentSet], projection: Projection) -> float:
    """Return the inverse temperature with the lowest cross-entropy on held-out samples.

    Each sample is classified among the names of all sets.
    """
    embedding_of = {
        name: embedding
        for alignment_set in alignment_sets
        for name, embedding in zip(alignment_set.names, alignment_set.text_embeddings, strict=True)
    }  # a name has the same embedding in every set
    index_of = {name: index for index, name in enumerate(embedding_of)}
    parts = [alignment_set.select(alignment_set.held_out) for alignment_set in alignment_sets]
    embeddings = projection(torch.cat([part.features for part in parts]))
    cosines = embeddings @ torch.stack(list(embedding_of.values())).T
    labels = torch.tensor([index_of[part.names[label]] for part in parts for label in part.labels.tolist()])
    scales = torch.arange(SCALES[0], SCALES[1] + 1)
    losses = torch.stack([F.cross_entropy(scale * cosines, labels) for scale in scales])
    return float(scales[losses.argmin()])


def _training_part(alignment_set: AlignmentSet) -> AlignmentSet:
    """The samples that are not held out, with only the names that they use."""
    part = alignment_set.select(~alignment_set.held_out)
    if not len(part.features):
        raise DatasetError(
            f"{alignment_set.title}: all images are held out, none is left to train on; lower held_out"
        )
    used, labels = torch.unique(part.labels, return_inverse=True)
    names = tuple(part.names[index] for index in used.tolist())
    return AlignmentSet(part.title, part.features, labels, names, part.text_embeddings[used], part.held_out)
