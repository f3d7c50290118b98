"""Joins the towers: a linear map from pooled image features to the sentences' space.

1. Ridge regression from the normalised rows of ImageNet's classifier (what each class looks like) to the text
   embeddings of the classes' names and definitions. No image is needed.
2. A short refinement on what true masks cover (COCO things, VOC, MSRC) and on one photo per ImageNet class:
   cross-entropy among each data set's own names, held near the ridge solution. This is OVR's loss, for the
   projection alone.
3. A temperature, chosen by likelihood on photos that took no part.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from nano import recipe
from ovrcoat.data.panoptic_folder import PanopticFolder
from ovrcoat.data.transforms import batch_images, resize, test_size
from ovrcoat.model.encoders.nano import NanoEncoder

NAMED_SETS = ("coco_things", "voc_objects", "msrc_dev")
SMALLEST_SHARE = 0.003  # of the photo; smaller segments say little at stride 32
RIDGE = 3.0  # times the mean diagonal of the Gram matrix; flat optimum between 1 and 10 on held-out names
STEPS = 200
SAMPLES = 512  # of each source and step
LEARNING_RATE = 1e-3
PULL = 0.03  # towards the ridge solution, per squared difference
TRAINING_SCALE = 20.0  # inverse temperature of the refinement


@dataclass(frozen=True, slots=True)
class Samples:
    """Pooled image features with the position of their name among `names`."""

    features: Tensor  # [sample, 1280]
    labels: Tensor  # [sample]
    names: tuple[str, ...]
    held_out: Tensor  # [sample] bool


@torch.inference_mode()
def collect_samples(encoder: NanoEncoder, data: Path) -> dict[str, Samples]:
    """Features of every named segment and of every ImageNet photo, at nano's own test size."""
    collected = {}
    for name in NAMED_SETS:
        photos = PanopticFolder(data / name)
        rows, words, held_out = [], [], []
        for index in range(len(photos)):
            photo = photos[index]
            kept = [
                (photo.id_map == segment_id, word)
                for segment_id, word in zip(photo.segment_ids, photo.names, strict=True)
                if (photo.id_map == segment_id).mean() >= SMALLEST_SHARE
            ]
            if kept:
                rows.append(pool(encoder, photo.pixels, [mask for mask, _ in kept]))
                words.extend(word for _, word in kept)
                held_out.extend([recipe.is_held_out(photo.file_name)] * len(kept))
        collected[name] = label(torch.cat(rows), words, held_out)
    entries = json.loads((data / "imagenet_names/labels.json").read_text(encoding="utf-8"))
    rows, words = [], []
    for entry in entries:
        with Image.open(data / "imagenet_names/images" / entry["file_name"]) as image:
            pixels = np.asarray(image.convert("RGB"))
        rows.append(pool(encoder, pixels, [np.ones(pixels.shape[:2], bool)]))
        words.append(entry["wnid"])
    collected["imagenet_names"] = label(torch.cat(rows), words, [False] * len(words))
    return collected


def pool(encoder: NanoEncoder, pixels: np.ndarray, masks: Sequence[np.ndarray]) -> Tensor:
    """Mean of the dense map under masks of the photo's size, by the share of each cell that is covered."""
    settings = recipe.model_config(1).inference
    size = test_size(pixels.shape[:2], short_side=settings.short_side, max_long_side=settings.max_long_side)
    batch = batch_images([resize(pixels, size)])
    dense = encoder(batch).dense[0]
    height, width = batch.padded_size
    resized = F.interpolate(torch.from_numpy(np.stack(masks))[None].float(), size=size, mode="area")
    padded = F.pad(resized, (0, width - size[1], 0, height - size[0]))
    coverage = F.adaptive_avg_pool2d(padded, dense.shape[-2:])[0].flatten(1)
    return coverage @ dense.flatten(1).T / coverage.sum(dim=-1, keepdim=True)


def label(features: Tensor, words: list[str], held_out: list[bool]) -> Samples:
    """Number the words."""
    names = tuple(sorted(set(words)))
    labels = torch.tensor([names.index(word) for word in words])
    return Samples(features, labels, names, torch.tensor(held_out))


def ridge(inputs: Tensor, outputs: Tensor, strength: float) -> Tensor:
    """Least squares with a penalty, on centred inputs and outputs: [input, output]."""
    inputs, outputs = inputs - inputs.mean(dim=0), outputs - outputs.mean(dim=0)
    gram = inputs.T @ inputs
    penalty = strength * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram + penalty, inputs.T @ outputs)


def imagenet_texts(embed: Callable[[Sequence[str]], Tensor], wnids: Sequence[str]) -> Tensor:
    """One unit row per class: its names and its definition from WordNet (as timm carries them)."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    rows = []
    for wnid in wnids:
        names = info.label_name_to_description(wnid).split(", ")
        definition = info.label_name_to_description(wnid, detailed=True)
        name_row = F.normalize(embed(names).mean(dim=0), dim=-1)
        rows.append(F.normalize(name_row + embed([definition])[0], dim=-1))
    return torch.stack(rows)


def fit_projection(
    classifier: Tensor,
    samples: dict[str, Samples],
    text_rows: dict[str, Tensor],
    *,
    sets: Sequence[str] = NAMED_SETS,
) -> tuple[Tensor, Tensor]:
    """Weight [embedding, feature] and bias of the projection; `sets` may teach it."""
    class_rows = F.normalize(classifier, dim=-1)
    start = ridge(class_rows, text_rows["imagenet_names"], RIDGE)
    photos = F.normalize(samples["imagenet_names"].features, dim=-1)
    start = start / (photos @ start).norm(dim=-1).mean()
    sources = [
        (photos, text_rows["imagenet_names"], samples["imagenet_names"].labels),
        (class_rows, text_rows["imagenet_names"], torch.arange(len(class_rows))),
    ]
    for name in sets:
        kept = ~samples[name].held_out
        features = F.normalize(samples[name].features[kept], dim=-1)
        sources.append((features, text_rows[name], samples[name].labels[kept]))
    weight, bias = nn.Parameter(start.clone()), nn.Parameter(torch.zeros(start.shape[1]))
    optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
    for _ in range(STEPS):
        loss = PULL * ((weight - start) ** 2).sum()
        for features, rows, labels in sources:
            chosen = torch.randint(len(features), (SAMPLES,))
            embeddings = F.normalize(features[chosen] @ weight + bias, dim=-1)
            loss = loss + F.cross_entropy(TRAINING_SCALE * embeddings @ rows.T, labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weight.detach().T.contiguous(), bias.detach()


def embed(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pooled features as unit rows of text space, as the encoder maps them."""
    return F.normalize(F.normalize(features, dim=-1) @ weight.T + bias, dim=-1)


def accuracy(samples: Samples, rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[float, float]:
    """Share of segments named right among the set's names: on photos held out, and on all."""
    embeddings = embed(samples.features, weight, bias)
    right = (embeddings @ rows.T).argmax(dim=-1) == samples.labels
    held_out = right[samples.held_out] if samples.held_out.any() else right
    return float(held_out.float().mean()), float(right.float().mean())


def calibrate(samples: dict[str, Samples], rows: dict[str, Tensor], weight: Tensor, bias: Tensor) -> float:
    """The inverse temperature of least cross-entropy on held-out segments, each among all sets' names."""
    every_row = torch.cat([rows[name] for name in NAMED_SETS])
    names = [word for name in NAMED_SETS for word in samples[name].names]
    column = {word: index for index, word in reversed(list(enumerate(names)))}
    distinct = sorted(set(column.values()))
    place = {index: position for position, index in enumerate(distinct)}
    cosines, labels = [], []
    for name in NAMED_SETS:
        chosen = samples[name].held_out
        embeddings = embed(samples[name].features[chosen], weight, bias)
        cosines.append(embeddings @ every_row[distinct].T)
        labels.extend(place[column[samples[name].names[label]]] for label in samples[name].labels[chosen])
    scales = torch.linspace(5, 100, 96)
    losses = [F.cross_entropy(scale * torch.cat(cosines), torch.tensor(labels)) for scale in scales]
    return float(scales[int(torch.stack(losses).argmin())])
