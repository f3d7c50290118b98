"""From mask predictions to a result: scoring with COAT, then panoptic, semantic or instance output."""

from collections import Counter
from dataclasses import dataclass

from ovrcoat.data.images import LoadedImage
from ovrcoat.postprocessing.background import resolve_background
from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.mask_status import ExplainedMask, MaskStatus
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.semantic import semantic
from ovrcoat.postprocessing.specks import without_specks
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.results.background import background_shares
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.structures import MaskPredictions, ScoredMasks

AnyResult = PanopticResult | SemanticResult | InstanceResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation:
    """A panoptic result, and the status of every mask of the decoder.

    Attributes:
        result: the panoptic result.
        masks: one entry per query of the decoder, in order.
    """

    result: PanopticResult
    masks: tuple[ExplainedMask, ...]

    def __repr__(self) -> str:
        """Return one line: the number of masks by status."""
        return f"<Explanation of {self.result!r}: {self._counts()}>"

    def summary(self, *, limit: int = 10) -> str:
        """Return how many masks have which status, and the best rejected masks, as text.

        Args:
            limit: number of rejected masks to list, by score.
        """
        rejected = [mask for mask in self.masks if mask.status is not MaskStatus.SEGMENT]
        rejected.sort(key=lambda mask: -mask.score)
        lines = [f"{len(self.masks)} masks: {self._counts()}"]
        if rejected[:limit]:
            lines.append(f"best rejected masks ({min(limit, len(rejected))} of {len(rejected)}):")
        lines += [
            f"  query {mask.query}: {mask.category or 'unknown'} {mask.score:.2f}, void {mask.void:.2f}, "
            f"rejected: {mask.status}"
            for mask in rejected[:limit]
        ]
        return "\n".join(lines)

    def _counts(self) -> str:
        counts = Counter(mask.status for mask in self.masks)
        return ", ".join(f"{counts[status]} {status}" for status in MaskStatus if counts[status])


def postprocess(
    predictions: MaskPredictions, sizes: ImageSizes, image: LoadedImage, *, prompt: SegmentationPrompt
) -> AnyResult:
    """Return the result of the prompt's task for one image (a batch of one)."""
    if prompt.task == "panoptic":
        return explain(predictions, sizes, image, prompt=prompt).result
    categories, scored = prompt.vocabulary.categories, _score(predictions, prompt)
    if prompt.task == "semantic":
        category_map, segments, won = semantic(
            scored,
            sizes,
            categories=categories,
            background=prompt.vocabulary.background,
            at_input_size=prompt.settings.semantic_at_input_size,
        )
        return SemanticResult(
            category_map,
            segments,
            categories,
            image.pixels,
            image.name,
            issues=prompt.issues,
            background=background_shares(won, pixels=category_map.size),
            notes=image.notes,
        )
    segments, masks = instances(scored, sizes, categories=categories, limit=prompt.settings.instances)
    result = InstanceResult(
        sizes.output,
        segments,
        masks,
        categories,
        image.pixels,
        image.name,
        issues=prompt.issues,
        notes=image.notes,
    )
    return result if prompt.score_threshold is None else result.filtered(prompt.score_threshold)


def explain(
    predictions: MaskPredictions, sizes: ImageSizes, image: LoadedImage, *, prompt: SegmentationPrompt
) -> Explanation:
    """Return the panoptic result of one image together with the status of every mask."""
    vocabulary = prompt.vocabulary
    output = panoptic(
        _score(predictions, prompt),
        sizes,
        categories=vocabulary.categories,
        background=vocabulary.background,
        object_mask_threshold=prompt.object_mask_threshold,
        overlap_threshold=prompt.overlap_threshold,
        duplicate_iou=prompt.settings.duplicate_iou,
    )
    output = without_specks(output, min_share=prompt.settings.min_component_share)
    result = PanopticResult(
        output.id_map,
        output.segments,
        vocabulary.categories,
        image.pixels,
        image.name,
        issues=prompt.issues,
        background=background_shares(output.background_areas, pixels=output.id_map.size),
        notes=image.notes,
    )
    return Explanation(result, output.masks)


def _score(predictions: MaskPredictions, prompt: SegmentationPrompt) -> ScoredMasks:
    """Return the final probabilities of all masks."""
    settings = prompt.settings
    scored = score_masks(
        predictions,
        0,
        seen=prompt.seen,
        alpha=settings.alpha,
        beta=settings.beta,
        trust=prompt.trust,
        ensemble_on_valid_mask=settings.ensemble_on_valid_mask,
    )
    return resolve_background(scored, visible=len(prompt.vocabulary.categories))
