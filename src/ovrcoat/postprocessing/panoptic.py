"""Panoptic post-processing: from scored masks to an id map.

The steps follow Mask2Former. Steps 2 and 6 are additions, and have no effect with the published settings.
Neither have weights, which are multiplied with the scores in steps 2 and 3.

1. Discard masks whose most likely class is void, and masks whose score is too low. COAT has already changed
   the void probabilities at this point.
2. Remove duplicates: of masks that overlap strongly, keep the one with the highest score (`duplicates.py`).
3. Assign each pixel to the mask with the largest score × mask probability. Masks of background classes
   take part. A pixel stays void if the mask assigned to it has a mask probability below 0.5 at that pixel.
4. Discard masks that lost too many of their pixels to other masks. Their pixels become void; they are not
   assigned again.
5. Merge the masks of one stuff category into one segment.
6. Pixels of background classes become void.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from ovrcoat.postprocessing.duplicates import mask_nms
from ovrcoat.postprocessing.mask_status import MaskOutcome, MaskStatus
from ovrcoat.postprocessing.pixel_assignment import NO_OWNER, PixelAssignment, assign_pixels, union_bbox
from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import make_segment
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False)
class PanopticOutput:
    """The output for one image.

    Attributes:
        id_map: segment id of each pixel, 1..n; 0 is void.
        segments: the segments with ids 1..n, in order.
        masks: the status of every mask of the decoder.
        background_areas: number of pixels of each background class, by name.
        assignment: how the pixels were assigned, if requested.
    """

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    masks: tuple[MaskOutcome, ...]
    background_areas: Mapping[str, int]
    assignment: "QueryAssignment | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class QueryAssignment:
    """Which query won each pixel, before masks were rejected for overlaps.

    Attributes:
        owner_map: the query that won the pixel; `NO_OWNER` if no mask did.
        argmax_areas: pixels where the query has the largest score × mask probability, for each query that
            took part.
    """

    owner_map: Int32[np.ndarray, "height width"]
    argmax_areas: Mapping[int, int]


def panoptic(
    scored: ScoredMasks,
    sizes: ImageSizes,
    *,
    categories: Sequence[Category],
    background: Sequence[Category] = (),
    object_mask_threshold: float,
    overlap_threshold: float,
    duplicate_iou: float | None = None,
    keep_assignment: bool = False,
) -> PanopticOutput:
    """Compute the panoptic map of one image.

    Args:
        scored: masks with class and void probabilities (after COAT).
        sizes: sizes of the padded input, of the image inside it, and of the map.
        categories: the vocabulary's categories, in the order of the category axis.
        background: background classes, which follow `categories` on the category axis.
        object_mask_threshold: masks whose score does not exceed this value are discarded, 0..1.
        overlap_threshold: minimum ratio of a mask's argmax area to its original area, 0 or more.
        duplicate_iou: of two masks with at least this IoU, only the one with the higher score is kept. None:
            duplicates are not removed.
        keep_assignment: also return which query won each pixel.
    """
    probs, void_probs = class_probs(scored)
    scores, labels = probs.max(-1)
    beats_void = scores >= void_probs
    candidates = (beats_void & (scores > object_mask_threshold)).nonzero()[:, 0]
    # a mask that beats void but is no candidate is below the threshold; candidates get their status later
    statuses = [MaskStatus.BELOW_THRESHOLD if beats else MaskStatus.VOID for beats in beats_void.tolist()]
    weighted = scores if scored.weights is None else scores * scored.weights
    candidates, duplicate_of = _without_duplicates(scored, weighted, candidates, duplicate_iou=duplicate_iou)
    for query in duplicate_of:
        statuses[query] = MaskStatus.DUPLICATE

    assignment = assign_pixels(scored.mask_logits[candidates], weighted[candidates], sizes=sizes)
    queries, candidate_labels = candidates.tolist(), labels[candidates].tolist()
    candidate_statuses = _candidate_statuses(
        assignment, candidate_labels, num_categories=len(categories), overlap_threshold=overlap_threshold
    )
    for query, status in zip(queries, candidate_statuses, strict=True):
        statuses[query] = status
    groups = _group_into_segments(candidate_statuses, candidate_labels, categories=categories)
    segment_of = {queries[index]: id for id, members in enumerate(groups, start=1) for index in members}
    ids_and_names = _category_ids_and_names(labels.tolist(), categories, background)
    rows = zip(statuses, ids_and_names, scores.tolist(), void_probs.tolist(), strict=True)
    masks = tuple(
        MaskOutcome(q, status, *id_and_name, score, void, segment_of.get(q), duplicate_of.get(q))
        for q, (status, id_and_name, score, void) in enumerate(rows)
    )
    candidate_masks = [masks[query] for query in queries]
    return PanopticOutput(
        _id_map(assignment, groups),
        _make_segments(scored, assignment, groups, candidate_masks=candidate_masks, categories=categories),
        masks,
        _background_areas(candidate_masks, assignment),
        _by_query(assignment, queries) if keep_assignment else None,
    )


def _without_duplicates(
    scored: ScoredMasks,
    scores: Float[Tensor, " query"],
    candidates: Int64[Tensor, " candidate"],
    *,
    duplicate_iou: float | None,
) -> tuple[Int64[Tensor, " kept"], dict[int, int]]:
    """Return the candidates to keep, and for the others the query of the better mask.

    `scores` are weighted, if the masks have weights.
    """
    if duplicate_iou is None:
        return candidates, {}
    better = mask_nms(scored.mask_logits[candidates], scores[candidates], duplicate_iou=duplicate_iou)
    queries = candidates.tolist()
    duplicate_of = {
        query: queries[index] for query, index in zip(queries, better, strict=True) if index is not None
    }
    return candidates[[index is None for index in better]], duplicate_of


def _by_query(assignment: PixelAssignment, queries: Sequence[int]) -> QueryAssignment:
    """Return the assignment with queries instead of indices of candidates."""
    query_of = np.array([*queries, NO_OWNER], dtype=np.int32)  # index -1, no owner, is the last entry
    return QueryAssignment(
        query_of[assignment.owner], dict(zip(queries, assignment.argmax_area, strict=True))
    )


def _background_areas(
    candidate_masks: Sequence[MaskOutcome], assignment: PixelAssignment
) -> Mapping[str, int]:
    """Return the number of pixels of each background class, by name."""
    areas = Counter[str]()
    for mask, area in zip(candidate_masks, assignment.final_area, strict=True):
        if mask.status is MaskStatus.BACKGROUND and mask.category is not None:
            areas[mask.category] += area
    return areas


def _make_segments(
    scored: ScoredMasks,
    assignment: PixelAssignment,
    groups: Sequence[Sequence[int]],
    *,
    candidate_masks: Sequence[MaskOutcome],
    categories: Sequence[Category],
) -> tuple[Segment, ...]:
    """Create one segment per group; a group consists of indices of `candidate_masks`."""
    category_of_id = {category.id: category for category in categories}
    segments = []
    for segment_id, members in enumerate(groups, start=1):
        # a merged segment is described by its largest mask
        largest = candidate_masks[max(members, key=assignment.final_area.__getitem__)]
        area = sum(assignment.final_area[index] for index in members)
        bbox = union_bbox([assignment.bboxes[index] for index in members])
        assert largest.category_id is not None  # no background class forms a segment
        segments.append(
            make_segment(
                scored,
                largest.query,
                id=segment_id,
                category=category_of_id[largest.category_id],
                categories=categories,
                score=largest.score,
                region=(area, bbox),
            )
        )
    return tuple(segments)


def _category_ids_and_names(
    labels: Sequence[int], categories: Sequence[Category], background: Sequence[Category]
) -> list[tuple[int | None, str | None]]:
    """Return the category id and name of each label.

    Background classes have no id; a label beyond both lists has neither id nor name.
    """
    known: list[tuple[int | None, str | None]] = [(category.id, category.name) for category in categories]
    known += [(None, category.name) for category in background]
    return [known[label] if label < len(known) else (None, None) for label in labels]


def _candidate_statuses(
    assignment: PixelAssignment, labels: Sequence[int], *, num_categories: int, overlap_threshold: float
) -> list[MaskStatus]:
    """Return which candidates become segments, and why the others do not.

    argmax area: pixels where the candidate has the largest score × mask probability; original area: pixels
    where its mask probability is at least 0.5; final area: pixels with both.
    """

    def status(label: int, argmax_area: int, original_area: int, final_area: int) -> MaskStatus:
        if label >= num_categories:
            return MaskStatus.BACKGROUND
        if original_area == 0:
            return MaskStatus.EMPTY
        if argmax_area == 0 or final_area == 0 or argmax_area / original_area < overlap_threshold:
            return MaskStatus.OVERLAP
        return MaskStatus.SEGMENT

    areas = zip(assignment.argmax_area, assignment.original_area, assignment.final_area, strict=True)
    return [status(label, *mask_areas) for label, mask_areas in zip(labels, areas, strict=True)]


def _group_into_segments(
    statuses: Sequence[MaskStatus], labels: Sequence[int], *, categories: Sequence[Category]
) -> list[list[int]]:
    """Return one list of candidate indices per segment; the masks of a stuff category share one list."""
    groups: list[list[int]] = []
    group_of_stuff: dict[int, list[int]] = {}  # label → its list in `groups`, the same object
    for index, (status, label) in enumerate(zip(statuses, labels, strict=True)):
        if status is not MaskStatus.SEGMENT:
            continue
        if label in group_of_stuff:
            group_of_stuff[label].append(index)
            continue
        groups.append([index])
        if not categories[label].is_thing:
            group_of_stuff[label] = groups[-1]
    return groups


def _id_map(
    assignment: PixelAssignment, groups: Sequence[Sequence[int]]
) -> Int32[np.ndarray, "height width"]:
    """Replace the owner of each pixel with the id of its segment, or with 0."""
    # one more entry than candidates: pixels without an owner have index -1, the last entry
    id_of_candidate = np.zeros(len(assignment.final_area) + 1, dtype=np.int32)
    for segment_id, members in enumerate(groups, start=1):
        id_of_candidate[members] = segment_id
    return id_of_candidate[assignment.owner]
