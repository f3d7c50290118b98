"""Panoptic post-processing: an id map in which every pixel belongs to one segment or to void.

Follows Mask2Former: discard masks whose most likely class is void, assign each pixel to the mask with the
largest score × mask probability, drop masks that lost too many of their pixels, and merge stuff.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from torch import Tensor

from ovrcoat.postprocessing.duplicates import distinct
from ovrcoat.postprocessing.mask_status import ExplainedMask, MaskStatus
from ovrcoat.postprocessing.pixel_assignment import PixelAssignment, assign_pixels, union
from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import describe
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False)
class PanopticOutput:
    """The id map (0 is void, segments are 1..n), the segments in order, and the status of every mask."""

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    masks: tuple[ExplainedMask, ...]


def panoptic(
    scored: ScoredMasks,
    sizes: ImageSizes,
    *,
    categories: Sequence[Category],
    background: Sequence[Category] = (),
    object_mask_threshold: float,
    overlap_threshold: float,
    duplicate_iou: float | None = None,
) -> PanopticOutput:
    """Turn masks into a panoptic map of `sizes.output`.

    Args:
        scored: masks and probabilities of one image.
        sizes: the sizes of the padded input, of the image inside it, and of the output.
        categories: the vocabulary's categories, in the order of the category axis.
        background: names of the categories that follow them on that axis. Masks of background classes
            compete for pixels like any other; the pixels that they win are void.
        object_mask_threshold: masks need a larger score, 0..1.
        overlap_threshold: minimum ratio of the pixels that a mask wins to the pixels that it covers.
        duplicate_iou: of several masks with at least this IoU only the best is used. None: all are used, as
            in the paper.
    """
    probs, void_probs = class_probs(scored)
    scores, labels = probs.max(-1)
    is_object = scores >= void_probs
    statuses = [
        MaskStatus.BELOW_THRESHOLD if not_void else MaskStatus.VOID for not_void in is_object.tolist()
    ]
    kept = (is_object & (scores > object_mask_threshold)).nonzero()[:, 0]
    if duplicate_iou is not None:
        for query in kept.tolist():
            statuses[query] = MaskStatus.DUPLICATE  # replaced below for the masks that stay
        kept = kept[distinct(scored.mask_logits[kept], scores[kept], duplicate_iou=duplicate_iou)]

    assignment = assign_pixels(scored.mask_logits[kept], scores[kept], sizes=sizes)
    queries, kept_labels = kept.tolist(), labels[kept].tolist()
    kept_statuses = _statuses(
        assignment, kept_labels, visible=len(categories), overlap_threshold=overlap_threshold
    )
    for query, status in zip(queries, kept_statuses, strict=True):
        statuses[query] = status
    groups = _merge_stuff(kept_statuses, kept_labels, categories=categories)

    segments = tuple(
        _describe_group(
            scored,
            assignment,
            members,
            id=id,
            queries=queries,
            category=categories[kept_labels[members[0]]],
            categories=categories,
            scores=scores,
        )
        for id, members in enumerate(groups, start=1)
    )
    segment_of_query = {queries[index]: id for id, members in enumerate(groups, start=1) for index in members}
    names = [_identify(label, categories, background) for label in labels.tolist()]
    masks = tuple(
        ExplainedMask(query, status, *name, float(score), float(void), segment_of_query.get(query))
        for query, (status, name, score, void) in enumerate(
            zip(statuses, names, scores, void_probs, strict=True)
        )
    )
    return PanopticOutput(_id_map(assignment, groups), segments=segments, masks=masks)


def _describe_group(
    scored: ScoredMasks,
    assignment: PixelAssignment,
    members: Sequence[int],
    *,
    id: int,
    queries: Sequence[int],
    category: Category,
    categories: Sequence[Category],
    scores: Float[Tensor, " query"],
) -> Segment:
    """Create the segment of a group of masks of one category; the largest mask describes it."""
    query = queries[max(members, key=assignment.area.__getitem__)]
    area = sum(assignment.area[index] for index in members)
    bbox = union([assignment.bboxes[index] for index in members])
    return describe(
        scored,
        query,
        id=id,
        category=category,
        categories=categories,
        score=float(scores[query]),
        region=(area, bbox),
    )


def _identify(
    label: int, categories: Sequence[Category], background: Sequence[Category]
) -> tuple[int | None, str | None]:
    """Return the category's id (None for a background class) and name (None if it is not known)."""
    if label < len(categories):
        return categories[label].id, categories[label].name
    position = label - len(categories)
    return None, background[position].name if position < len(background) else None


def _statuses(
    assignment: PixelAssignment, labels: Sequence[int], *, visible: int, overlap_threshold: float
) -> list[MaskStatus]:
    """Decide which of the kept masks become segments, and why the others do not."""

    def status(label: int, strongest: int, covered: int, area: int) -> MaskStatus:
        if label >= visible:
            return MaskStatus.BACKGROUND
        if covered == 0:
            return MaskStatus.EMPTY
        if 0 in (strongest, area) or strongest / covered < overlap_threshold:
            return MaskStatus.OVERLAP
        return MaskStatus.SEGMENT

    columns = zip(labels, assignment.strongest_area, assignment.mask_area, assignment.area, strict=True)
    return [status(*values) for values in columns]


def _merge_stuff(
    statuses: Sequence[MaskStatus], labels: Sequence[int], *, categories: Sequence[Category]
) -> list[list[int]]:
    """Entry i lists the kept masks, by index, that form segment i + 1."""
    groups: list[list[int]] = []
    stuff: dict[int, list[int]] = {}
    for index, (status, label) in enumerate(zip(statuses, labels, strict=True)):
        if status is not MaskStatus.SEGMENT:
            continue
        if label in stuff:
            stuff[label].append(index)
            continue
        groups.append([index])
        if not categories[label].is_thing:
            stuff[label] = groups[-1]
    return groups


def _id_map(
    assignment: PixelAssignment, groups: Sequence[Sequence[int]]
) -> Int32[np.ndarray, "height width"]:
    """Replace the owner of each pixel by the id of its segment, or by 0."""
    id_of_mask = np.zeros(len(assignment.area) + 1, dtype=np.int32)  # the last entry is for NO_OWNER (-1)
    for id, members in enumerate(groups, start=1):
        id_of_mask[members] = id
    return id_of_mask[assignment.owner]
