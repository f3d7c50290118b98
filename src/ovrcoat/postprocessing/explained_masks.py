"""Explain each mask: what the classifiers and COAT say about it, and what the result shows at its pixels.

Computed only for explanations. Areas are exact counts at the size of the image. The masks are upsampled block
by block, so that memory does not grow with the size of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int16, Int64
from torch import Tensor

from ovrcoat.postprocessing.mask_status import MaskOutcome, MaskStatus
from ovrcoat.postprocessing.panoptic import PanopticOutput
from ovrcoat.postprocessing.pixel_assignment import NO_OWNER, split_into_blocks
from ovrcoat.postprocessing.segments import bbox_of
from ovrcoat.postprocessing.upsampling import AxisResize, ImageSizes
from ovrcoat.results.segment import BBox, is_rescued
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True)
class CategoryChoice:
    """The most likely category of a mask according to one classifier, given that the mask is not void.

    Attributes:
        category: its first name.
        probability: 0..1; the probabilities of all categories and background classes sum to one.
        is_background: it is a background class.
    """

    category: str
    probability: float
    is_background: bool

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "category": self.category,
            "probability": round(self.probability, 4),
            "is_background": self.is_background,
        }


@dataclass(frozen=True, slots=True)
class Region:
    """Pixels of the image that have one reason for what the result shows there.

    Attributes:
        kind: what the result shows. All but "segment" are void in the result:
            "segment": a segment;
            "background": a background class won them;
            "rejected": a mask won them and was rejected afterwards, because it lost too many other pixels;
            "speck": they were a small disconnected part of a segment, and were removed;
            "void": no mask won them.
        category: of the segment or the mask, or the background class; None for "void".
        segment_id: of the segment.
        query: of the rejected mask.
    """

    kind: Literal["segment", "background", "rejected", "speck", "void"]
    category: str | None = None
    segment_id: int | None = None
    query: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "kind": self.kind,
            "category": self.category,
            "segment_id": self.segment_id,
            "query": self.query,
        }


@dataclass(frozen=True, slots=True, eq=False)
class RegionMap:
    """The region of each pixel of the image.

    Attributes:
        indices: index in `regions`.
        regions: the regions; some may be empty.
    """

    indices: Int16[np.ndarray, "height width"]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedMask(MaskOutcome):
    """One mask of the decoder: its status, what led to it, and what the result shows at its pixels.

    Attributes:
        in_vocab: best category by the learned (in-vocabulary) classifier.
        out_vocab: best category by CLIP (the out-of-vocabulary classifier).
        ensemble: best category by both, after background classes are resolved; its probability times
            `objectness` is the score.
        objectness_before: probability that the mask is not void, without COAT, 0..1.
        objectness: the same with COAT.
        clip_confidence: CLIP's largest category probability, 0..1 (`p_cer` in the paper).
        rescued: void at trust 0, and not void with COAT; see `is_rescued`. It may be rejected for another
            reason.
        area: pixels of the image where its mask probability is at least 0.5.
        bbox: (x, y, width, height) of these pixels, as in COCO.
        argmax_ratio: ratio of its argmax area to `area`, which is compared with the overlap threshold. It
            can exceed 1. None if the mask did not take part in the pixel assignment.
        merged_into: id of the segment, if the mask is part of a stuff segment that another mask describes.
        original: the mask that it duplicates, if the status is DUPLICATE. It may be rejected in turn.
        covered_by: regions of the result at the pixels of the mask, each with its share of `area`, 0..1,
            largest first.
    """

    in_vocab: CategoryChoice
    out_vocab: CategoryChoice
    ensemble: CategoryChoice
    objectness_before: float
    objectness: float
    clip_confidence: float
    rescued: bool
    area: int
    bbox: BBox
    argmax_ratio: float | None
    merged_into: int | None
    original: MaskOutcome | None
    covered_by: tuple[tuple[Region, float], ...]

    @property
    def duplicate_of_segment(self) -> int | None:
        """Id of the segment of the mask that it duplicates, if that is a segment."""
        return None if self.original is None else self.original.segment_id

    @property
    def outscored_by(self) -> tuple[tuple[Region, float], ...]:
        """If it was rejected for overlaps: who won its other pixels, each with its share of `area`."""
        if self.status is not MaskStatus.OVERLAP:
            return ()
        return tuple(
            (region, share)
            for region, share in self.covered_by
            if region.kind != "void" and region.query != self.query
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold; probabilities and shares are rounded to four digits."""
        return {
            "query": self.query,
            "status": str(self.status),
            "category_id": self.category_id,
            "category": self.category,
            "score": round(self.score, 4),
            "void": round(self.void, 4),
            "segment_id": self.segment_id,
            "merged_into": self.merged_into,
            "duplicate_of": self.duplicate_of,
            "duplicate_of_segment": self.duplicate_of_segment,
            "rescued": self.rescued,
            "in_vocab": self.in_vocab.to_dict(),
            "out_vocab": self.out_vocab.to_dict(),
            "ensemble": self.ensemble.to_dict(),
            "objectness_before": round(self.objectness_before, 4),
            "objectness": round(self.objectness, 4),
            "clip_confidence": round(self.clip_confidence, 4),
            "area": self.area,
            "bbox": list(self.bbox),
            "argmax_ratio": None if self.argmax_ratio is None else round(self.argmax_ratio, 4),
            "outscored_by": [
                region.to_dict() | {"share": round(share, 4)} for region, share in self.outscored_by
            ],
            "covered_by": [
                region.to_dict() | {"share": round(share, 4)} for region, share in self.covered_by
            ],
        }


def explain_masks(
    scored: ScoredMasks,
    sizes: ImageSizes,
    output: PanopticOutput,
    *,
    categories: Sequence[Category],
    background: Sequence[Category],
) -> tuple[tuple[ExplainedMask, ...], RegionMap]:
    """Return every mask with its explanation, and the regions of the image.

    Args:
        scored: the masks, with the probabilities of each classifier.
        sizes: sizes of the padded input, of the image inside it, and of the map.
        output: the panoptic output, with its assignment, after the removal of specks.
        categories: the vocabulary's categories, in the order of the category axis.
        background: background classes, which follow `categories`.
    """
    assert output.assignment is not None
    assert scored.in_vocab_probs is not None
    assert scored.out_vocab_probs is not None
    regions = _region_map(output)
    areas, bboxes, shared = _count(scored.mask_logits, sizes, regions)
    names = [category.name for category in (*categories, *background)]
    in_vocab, out_vocab, ensemble = (
        _choices(probs, names, visible=len(categories))
        for probs in (scored.in_vocab_probs, scored.out_vocab_probs, scored.category_probs)
    )
    before, after = scored.objectness_before.tolist(), scored.objectness.tolist()
    confidence = scored.clip_confidence.tolist()
    argmax_areas = output.assignment.argmax_areas
    described_by = {segment.id: segment.query for segment in output.segments}
    masks = []
    for outcome in output.masks:
        query, area, better = outcome.query, areas[outcome.query], outcome.duplicate_of
        is_part = outcome.segment_id is not None and described_by[outcome.segment_id] != query
        masks.append(
            ExplainedMask(
                **{field.name: getattr(outcome, field.name) for field in fields(outcome)},
                in_vocab=in_vocab[query],
                out_vocab=out_vocab[query],
                ensemble=ensemble[query],
                objectness_before=before[query],
                objectness=after[query],
                clip_confidence=confidence[query],
                rescued=is_rescued(ensemble[query].probability, before=before[query], after=after[query]),
                area=area,
                bbox=bboxes[query],
                argmax_ratio=argmax_areas[query] / area if query in argmax_areas and area else None,
                merged_into=outcome.segment_id if is_part else None,
                original=None if better is None else output.masks[better],
                covered_by=_covered_by(shared[query], regions.regions),
            )
        )
    return tuple(masks), regions


def _region_map(output: PanopticOutput) -> RegionMap:
    """Return what the result shows at each pixel, and why."""
    assert output.assignment is not None
    owner_map = output.assignment.owner_map
    index_of = {Region("void"): 0}
    # The last entry is for `NO_OWNER`. A speck is a pixel whose owner is a segment, but that has no segment.
    of_query, if_speck = np.zeros((2, len(output.masks) + 1), dtype=np.int16)
    owners = np.unique(owner_map)
    for query in owners[owners != NO_OWNER].tolist():
        region = _region_of(output.masks[query])
        of_query[query] = if_speck[query] = index_of.setdefault(region, len(index_of))
        if region.kind == "segment":
            speck = replace(region, kind="speck")
            if_speck[query] = index_of.setdefault(speck, len(index_of))
    indices = np.where(output.id_map == 0, if_speck[owner_map], of_query[owner_map])
    return RegionMap(indices, tuple(index_of))


def _region_of(mask: MaskOutcome) -> Region:
    """Return the region of the pixels that a mask has won."""
    if mask.status is MaskStatus.SEGMENT:
        return Region("segment", category=mask.category, segment_id=mask.segment_id)
    if mask.status is MaskStatus.BACKGROUND:
        return Region("background", category=mask.category)
    return Region("rejected", category=mask.category, query=mask.query)


def _count(
    mask_logits: Float[Tensor, "query height width"], sizes: ImageSizes, regions: RegionMap
) -> tuple[list[int], list[BBox], Int64[np.ndarray, "query region"]]:
    """Return area and bbox of each mask, and the pixels that it shares with each region.

    As in `assign_pixels`, a mask is upsampled only in blocks that it covers partly.
    """
    (height, width), count, device = sizes.output, len(mask_logits), mask_logits.device
    region_count = len(regions.regions)
    shared = torch.zeros((count, region_count), dtype=torch.int64, device=device)
    in_row = torch.zeros((count, height), dtype=torch.bool, device=device)
    in_column = torch.zeros((count, width), dtype=torch.bool, device=device)
    vertical, horizontal = (
        AxisResize.of(mask_logits.shape[axis + 1], sizes, axis=axis, device=device) for axis in (0, 1)
    )
    row_slices, column_slices = split_into_blocks(sizes.output)
    for rows, columns in product(row_slices if count else (), column_slices):
        cells = (slice(None), vertical.support(rows), horizontal.support(columns))
        source = mask_logits[cells].float()
        lowest, highest = source.flatten(1).aminmax(dim=1)
        here = torch.from_numpy(regions.indices[rows, columns].astype(np.int64)).to(device)
        counts = torch.bincount(here.flatten(), minlength=region_count)
        whole = (lowest >= 0).nonzero()[:, 0]
        shared[whole] += counts
        in_row[whole, rows] = in_column[whole, columns] = True

        partly = ((lowest < 0) & (highest >= 0)).nonzero()[:, 0]
        to_rows, to_columns = vertical.matrix[rows, cells[1]], horizontal.matrix[columns, cells[2]].T
        inside = to_rows @ (source[partly] @ to_columns) >= 0
        present = counts.nonzero()[:, 0]
        of_region = (here.flatten()[:, None] == present).float()
        # exact: a block has fewer than 2²⁴ pixels
        shared[partly[:, None], present] += (inside.flatten(1).float() @ of_region).long()
        in_row[partly, rows] |= inside.any(2)
        in_column[partly, columns] |= inside.any(1)
    bboxes = [bbox_of(*lines) for lines in zip(in_row.cpu().numpy(), in_column.cpu().numpy(), strict=True)]
    return shared.sum(dim=1).tolist(), bboxes, shared.cpu().numpy()


def _choices(
    probs: Float[Tensor, "query category"], names: Sequence[str], *, visible: int
) -> list[CategoryChoice]:
    """Return the most likely category of each mask; the first `visible` ones are no background classes."""
    best, labels = probs.max(-1)
    return [
        CategoryChoice(names[label], probability, is_background=label >= visible)
        for label, probability in zip(labels.tolist(), best.tolist(), strict=True)
    ]


def _covered_by(
    shared: Int64[np.ndarray, " region"], regions: Sequence[Region]
) -> tuple[tuple[Region, float], ...]:
    """Return the regions under one mask with their shares, largest first."""
    order = np.argsort(-shared, kind="stable").tolist()
    total = max(1, int(shared.sum()))
    return tuple((regions[index], int(shared[index]) / total) for index in order if shared[index])
