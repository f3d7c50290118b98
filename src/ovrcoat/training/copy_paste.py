"""Copy-paste augmentation: things cut from other images are pasted into a crop (Ghiasi et al., CVPR 2021).

What happens to the labels:

- Pasted pixels are labeled: they belong to the pasted thing.
- The other pixels keep their meaning: labeled ones their segment, void stays void, unknown stays unknown.
- Covered masks lose the covered pixels. A mask of which too little is left becomes unknown.

A thing that its image cuts off is pasted at the same side of the crop, so no straight cut shows inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record
from ovrcoat.structures import Size
from ovrcoat.training.augmentation_config import CopyPasteConfig
from ovrcoat.training.crops import MIN_MASK_AREA, Crop
from ovrcoat.training.losses import UNNAMED, Targets
from ovrcoat.training.photometric import blurred
from ovrcoat.training.sources import ImageSource

MIN_THING_AREA = 400  # pixels in its own image
MIN_PASTED_AREA = 36  # pixels after resizing
MAX_DRAWS = 3  # things that are drawn until one can be pasted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment of a thing that can be cut out.

    Attributes:
        record: its image.
        segment_id: id of the segment in the id map.
        category_index: index in the training vocabulary, or `UNNAMED`.
    """

    record: Record
    segment_id: int
    category_index: int


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A thing at the size in which it is pasted.

    Attributes:
        pixels: RGB, 0 to 255.
        mask: its pixels.
        fixed: whether the border of its image cuts off the (top, bottom, left, right) side.
        category_index: index in the training vocabulary, or `UNNAMED`.
    """

    pixels: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]
    fixed: tuple[bool, bool, bool, bool]
    category_index: int


class Donor:
    """The things of a dataset, to be pasted into crops.

    Args:
        source: the dataset.
        category_map: category id in the dataset → index in the training vocabulary.
    """

    def __init__(self, source: ImageSource, *, category_map: Mapping[int, int]) -> None:
        things = {category.id for category in source.dataset.categories if category.is_thing}
        self.source = source
        self.weight = source.weight
        self.candidates = [
            Candidate(record, segment.id, category_map.get(segment.category_id, UNNAMED))
            for record in source.records
            for segment in record.segments
            if segment.category_id in things and not segment.is_crowd and segment.area >= MIN_THING_AREA
        ]

    def cut(self, candidate: Candidate, settings: CopyPasteConfig, *, edge: int) -> Cutout | None:
        """Cut a thing at a random scale and flip it half of the time.

        Args:
            candidate: the thing.
            settings: range of scales and largest area.
            edge: side of the crop in pixels.

        Returns:
            The cutout, or None if the thing cannot be used.

        Raises:
            DatasetError: its image or labels cannot be used, and the dataset has `on_error: raise`.
        """
        try:
            image = self.source.image(candidate.record)
        except DatasetError:
            if self.source.on_error == "raise":
                raise
            return None
        mask = torch.from_numpy(image.truth.id_map == candidate.segment_id)
        if not mask.any():
            return None
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        height, width = mask.shape
        fixed = (top == 0, bottom == height, left == 0, right == width)
        pixels = torch.from_numpy(image.pixels[top:bottom, left:right].copy()).permute(2, 0, 1).float()
        mask = mask[top:bottom, left:right]
        low, high = map(math.log, settings.scales)
        factor = math.exp(low + (high - low) * torch.rand(()).item()) * edge / min(height, width)
        factor = min(factor, math.sqrt(settings.largest * edge**2 / int(mask.sum())))
        resized = resize_thing(pixels, mask, factor=min(factor, edge / max(mask.shape)))
        if torch.rand(()) < 0.5:
            resized = resized[0].flip(-1), resized[1].flip(-1)
            fixed = (fixed[0], fixed[1], fixed[3], fixed[2])
        if int(resized[1].sum()) < MIN_PASTED_AREA:
            return None
        return Cutout(*resized, fixed, candidate.category_index)


class CopyPaste:
    """Pastes things of `donors` into crops."""

    def __init__(self, settings: CopyPasteConfig, donors: Sequence[Donor]) -> None:
        self.settings = settings
        self.donors = [donor for donor in donors if donor.candidates]
        self._weights = torch.tensor([donor.weight for donor in self.donors])

    def __call__(self, crop: Crop) -> Crop:
        """Paste into one crop with the current random state."""
        drawn, count = torch.rand(()).item(), int(torch.randint(self.settings.instances, ())) + 1
        if drawn >= self.settings.probability or not self.donors:
            return crop
        for _ in range(count):
            cutout = self._draw(edge=crop.pixels.shape[-1])
            if cutout is not None:
                crop = paste(crop, cutout, self.settings)
        return crop

    def _draw(self, *, edge: int) -> Cutout | None:
        """Return a random thing of a random donor."""
        for _ in range(MAX_DRAWS):
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
    """Paste one thing at a random position. Without room for it, the crop is returned unchanged."""
    position = random_position(cutout, crop.valid_size)
    if position is None:
        return crop
    top, left = position
    height, width = cutout.mask.shape
    region = (slice(top, top + height), slice(left, left + width))
    alpha = soft_edge(cutout.mask, sigma=settings.blend)
    pixels = crop.pixels.clone()
    pixels[:, *region] = torch.lerp(pixels[:, *region], cutout.pixels, alpha)
    covered = torch.zeros_like(crop.targets.labeled)
    covered[region] = cutout.mask
    targets = covered_targets(crop.targets, covered, visible=settings.visible)
    targets = Targets(
        masks=torch.cat((targets.masks, covered[None])),
        category_ids=torch.cat((targets.category_ids, torch.tensor([cutout.category_index]))),
        labeled=targets.labeled | covered,
    )
    return replace(crop, pixels=pixels, targets=targets)


def random_position(cutout: Cutout, room: Size) -> Size | None:
    """Return top and left of a pasted thing inside `room`. A side that was cut off is put at the border."""
    positions = []
    for side, available, (near, far) in zip(
        cutout.mask.shape, room, (cutout.fixed[:2], cutout.fixed[2:]), strict=True
    ):
        free = available - side
        if free < 0:
            return None
        anywhere = int(torch.randint(free + 1, ()))
        if near and far and free:  # cut off on both sides: no position is realistic
            return None
        positions.append(0 if near else free if far else anywhere)
    return positions[0], positions[1]


def soft_edge(mask: Bool[Tensor, "height width"], *, sigma: float) -> Float[Tensor, "height width"]:
    """Return the opacity of the pasted thing, 0 to 1."""
    hard = mask.float()
    return hard if sigma == 0 else blurred(hard[None], sigma=sigma)[0]


def covered_targets(targets: Targets, covered: Bool[Tensor, "height width"], *, visible: float) -> Targets:
    """Remove the covered pixels from all masks. Masks of which too little is left become unknown."""
    before = targets.masks.flatten(1).sum(dim=1)
    left = targets.masks & ~covered
    areas = left.flatten(1).sum(dim=1)
    touched = areas < before
    lost = touched & ((areas < MIN_MASK_AREA) | (areas < visible * before))
    remnants = left[lost].any(dim=0) if bool(lost.any()) else torch.zeros_like(covered)
    return Targets(
        masks=left[~lost], category_ids=targets.category_ids[~lost], labeled=targets.labeled & ~remnants
    )
