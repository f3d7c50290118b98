"""Panoptic post-processing: an id map in which every pixel belongs to one segment or to void.

Follows Mask2Former: discard masks whose most likely class is void, assign each pixel to the mask with the
largest score × mask probability, drop masks that lost too many of their pixels, and merge stuff.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """The output for one image.

    Attributes:
        id_map: id of each pixel's segment, 1..n; 0 is void.
        segments: the segments in order.
        masks: the status of every mask.
        background: pixels that each background class won, by name.
    """

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    masks: tuple[ExplainedMask, ...]
    background: Mapping[str, int]


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
        background: the categories behind them on that axis; pixels that their masks win are void.
        object_mask_threshold: masks need a larger score, 0..1.
        overlap_threshold: minimum ratio of the pixels that a mask wins to the pixels that it covers.
        duplicate_iou: of masks with at least this IoU only the best is used. None: all, as in the paper.
    """
    probs, void_probs = class_probs(scored)
    scores, labels = probs.max(-1)
    is_object = scores >= void_probs
    statuses = [MaskStatus.BELOW_THRESHOLD if other else MaskStatus.VOID for other in is_object.tolist()]
    kept = (is_object & (scores > object_mask_threshold)).nonzero()[:, 0]
    if duplicate_iou is not None:
        for query in kept.tolist():
            statuses[query] = MaskStatus.DUPLICATE  # replaced below for the masks that stay
        kept = kept[distinct(scored.mask_logits[kept], scores[kept], duplicate_iou=duplicate_iou)]

    assignment = assign_pixels(scored.mask_logits[kept], scores[kept], sizes=sizes)
    queries, kept_labels = kept.tolist(), labels[kept].tolist()
    outcomes = _statuses(
        assignment, kept_labels, visible=len(categories), overlap_threshold=overlap_threshold
    )
    for query, outcome in zip(queries, outcomes, strict=True):
        statuses[query] = outcome
    groups = _merge_stuff(outcomes, kept_labels, categories=categories)

    segment_of_query = {queries[index]: id for id, members in enumerate(groups, start=1) for index in members}
    columns = zip(
        statuses,
        _identify(labels.tolist(), categories, background),
        scores.tolist(),
        void_probs.tolist(),
        strict=True,
    )
    masks = tuple(
        ExplainedMask(query, status, *identity, score, void, segment_of_query.get(query))
        for query, (status, identity, score, void) in enumerate(columns)
    )
    segments = _segments(
        scored, assignment, groups, queries=queries, labels=kept_labels, scores=scores, categories=categories
    )
    won = Counter[str]()
    for label, area in zip(kept_labels, assignment.area, strict=True):
        if len(categories) <= label < len(categories) + len(background):
            won[background[label - len(categories)].name] += area
    return PanopticOutput(_id_map(assignment, groups), segments=segments, masks=masks, background=won)


def _segments(
    scored: ScoredMasks,
    assignment: PixelAssignment,
    groups: Sequence[Sequence[int]],
    *,
    queries: Sequence[int],
    labels: Sequence[int],
    scores: Float[Tensor, " query"],
    categories: Sequence[Category],
) -> tuple[Segment, ...]:
    """Describe the segments that groups of masks form; `queries` and `labels` are those of the kept masks."""
    segments = []
    for id, members in enumerate(groups, start=1):
        largest = max(members, key=assignment.area.__getitem__)  # describes a segment of merged stuff
        area = sum(assignment.area[index] for index in members)
        bbox = union([assignment.bboxes[index] for index in members])
        segments.append(
            describe(
                scored,
                queries[largest],
                id=id,
                category=categories[labels[largest]],
                categories=categories,
                score=float(scores[queries[largest]]),
                region=(area, bbox),
            )
        )
    return tuple(segments)


def _identify(
    labels: Sequence[int], categories: Sequence[Category], background: Sequence[Category]
) -> list[tuple[int | None, str | None]]:
    """Return id and name of each label; a background class has no id, and no name if it is not known."""
    identities: list[tuple[int | None, str | None]] = [(c.id, c.name) for c in categories]
    identities += [(None, category.name) for category in background]
    return [identities[label] if label < len(identities) else (None, None) for label in labels]


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
