"""Copy-paste augmentation: things cut from other images are pasted into a crop (Ghiasi et al., CVPR 2021).

What happens to the labels:

- Pasted pixels are labelled: they belong to the pasted thing.
- The other pixels keep their meaning: labelled ones their segment, void stays void, unknown stays unknown.
- Covered masks lose the covered pixels. A mask of which too little is left becomes unknown.

A thing that its image cuts off is pasted at the same side of the crop, so no straight cut shows inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.data.dataset import Record
from ovrcoat.structures import Size
from ovrcoat.training.augmentation_config import CopyPasteConfig
from ovrcoat.training.crops import SMALLEST_MASK, Crop
from ovrcoat.training.losses import UNNAMED, Targets
from ovrcoat.training.photometric import blurred
from ovrcoat.training.sources import Source

SMALLEST_THING = 400  # pixels of a thing in its own image; less is not worth cutting
LEAST_PASTED = 36  # pixels that a pasted thing keeps
ATTEMPTS = 3  # to find a thing that can be pasted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thing that may be cut: its image, the segment's id, and its place in the vocabulary."""

    record: Record
    segment_id: int
    category_number: int


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A thing at the size in which it is pasted. `fixed` tells which sides its image cuts off.

    `fixed` is (top, bottom, left, right).
    """

    pixels: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]
    fixed: tuple[bool, bool, bool, bool]
    category_number: int


class Donor:
    """A source of things to paste: those of a labelled data set."""

    def __init__(self, source: Source, *, category_numbers: Mapping[int, int]) -> None:
        things = {category.id for category in source.dataset.categories if category.is_thing}
        self.source = source
        self.weight = source.weight
        self.candidates = [
            Candidate(record, segment.id, category_numbers.get(segment.category_id, UNNAMED))
            for record in source.records
            for segment in record.segments
            if segment.category_id in things and not segment.is_crowd and segment.area >= SMALLEST_THING
        ]

    def cut(self, candidate: Candidate, settings: CopyPasteConfig, *, edge: int) -> Cutout | None:
        """Cut a thing at a random scale, flipped half of the time; None if it cannot be pasted.

        `edge` is the side of the crop in pixels.
        """
        photo = self.source.photo(candidate.record)
        mask = torch.from_numpy(photo.truth.id_map == candidate.segment_id)
        if not mask.any():
            return None
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        height, width = mask.shape
        fixed = (top == 0, bottom == height, left == 0, right == width)
        pixels = torch.from_numpy(photo.pixels[top:bottom, left:right].copy()).permute(2, 0, 1).float()
        mask = mask[top:bottom, left:right]
        low, high = map(math.log, settings.scales)
        factor = math.exp(low + (high - low) * torch.rand(()).item()) * edge / min(height, width)
        factor = min(factor, math.sqrt(settings.largest * edge**2 / int(mask.sum())))
        resized = resize_thing(pixels, mask, factor=min(factor, edge / max(mask.shape)))
        if torch.rand(()) < 0.5:
            resized = resized[0].flip(-1), resized[1].flip(-1)
            fixed = (fixed[0], fixed[1], fixed[3], fixed[2])
        if int(resized[1].sum()) < LEAST_PASTED:
            return None
        return Cutout(*resized, fixed, candidate.category_number)


class CopyPaste:
    """Pastes things of `donors` into crops. Crops of images with one name only stay as they are."""

    def __init__(self, settings: CopyPasteConfig, donors: Sequence[Donor]) -> None:
        self.settings = settings
        self.donors = [donor for donor in donors if donor.candidates]
        self._weights = torch.tensor([donor.weight for donor in self.donors])

    def __call__(self, crop: Crop) -> Crop:
        """Paste into one crop with the current random state."""
        wanted, count = torch.rand(()).item(), int(torch.randint(self.settings.instances, ())) + 1
        if wanted >= self.settings.probability or not self.donors or crop.name_number != UNNAMED:
            return crop
        for _ in range(count):
            cutout = self._draw(edge=crop.pixels.shape[-1])
            if cutout is not None:
                crop = paste(crop, cutout, self.settings)
        return crop

    def _draw(self, *, edge: int) -> Cutout | None:
        """A random thing of a random donor."""
        for _ in range(ATTEMPTS):
            donor = self.donors[int(torch.multinomial(self._weights, 1))]
            candidate = donor.candidates[int(torch.randint(len(donor.candidates), ()))]
            cutout = donor.cut(candidate, self.settings, edge=edge)
            if cutout is not None:
                return cutout
        return None


def resize_thing(
    pixels: Float[Tensor, "3 height width"], mask: Bool[Tensor, "height width"], *, factor: float
) -> tuple[Float[Tensor, "3 _ _"], Bool[Tensor, "_ _"]]:
    """Resize a thing with its mask."""
    size = [max(1, round(side * factor)) for side in mask.shape]
    both = torch.cat((pixels, 255 * mask[None].float()))
    resized = torch.nn.functional.interpolate(both[None], size=size, mode="bilinear", antialias=True)[0]
    return resized[:3].clamp(0, 255), resized[3] >= 127.5


def paste(crop: Crop, cutout: Cutout, settings: CopyPasteConfig) -> Crop:
    """Paste one thing at a random place; a crop that has no room for it stays as it is."""
    place = random_place(cutout, crop.valid_size)
    if place is None:
        return crop
    top, left = place
    height, width = cutout.mask.shape
    region = (slice(top, top + height), slice(left, left + width))
    alpha = soft_edge(cutout.mask, sigma=settings.blend)
    pixels = crop.pixels.clone()
    pixels[:, *region] = torch.lerp(pixels[:, *region], cutout.pixels, alpha)
    covered = torch.zeros_like(crop.targets.labelled)
    covered[region] = cutout.mask
    targets = covered_targets(crop.targets, covered, visible=settings.visible)
    targets = Targets(
        masks=torch.cat((targets.masks, covered[None])),
        category_ids=torch.cat((targets.category_ids, torch.tensor([cutout.category_number]))),
        labelled=targets.labelled | covered,
    )
    return replace(crop, pixels=pixels, targets=targets)


def random_place(cutout: Cutout, room: Size) -> Size | None:
    """Top and left of a pasted thing, inside `room`; a side that was cut off lies at the border."""
    places = []
    for side, available, (near, far) in zip(
        cutout.mask.shape, room, (cutout.fixed[:2], cutout.fixed[2:]), strict=True
    ):
        free = available - side
        if free < 0:
            return None
        anywhere = int(torch.randint(free + 1, ()))
        if near and far and free:  # it ran through its whole image: no place looks right
            return None
        places.append(0 if near else free if far else anywhere)
    return places[0], places[1]


def soft_edge(mask: Bool[Tensor, "height width"], *, sigma: float) -> Float[Tensor, "height width"]:
    """How much of the pasted thing shows, 0..1."""
    hard = mask.float()
    return hard if sigma == 0 else blurred(hard[None], sigma=sigma)[0]


def covered_targets(targets: Targets, covered: Bool[Tensor, "height width"], *, visible: float) -> Targets:
    """Take the covered pixels from all masks; masks of which too little is left become unknown."""
    before = targets.masks.flatten(1).sum(dim=1)
    left = targets.masks & ~covered
    areas = left.flatten(1).sum(dim=1)
    touched = areas < before
    lost = touched & ((areas < SMALLEST_MASK) | (areas < visible * before))
    remnants = left[lost].any(dim=0) if bool(lost.any()) else torch.zeros_like(covered)
    return Targets(
        masks=left[~lost], category_ids=targets.category_ids[~lost], labelled=targets.labelled & ~remnants
    )
