"""From mask predictions to a result: scoring with COAT, then panoptic, semantic or instance output."""

from dataclasses import replace

from ovrcoat.data.images import LoadedImage
from ovrcoat.postprocessing.background import resolve_background
from ovrcoat.postprocessing.explained_masks import explain_masks
from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.mask_status import MaskOutcome
from ovrcoat.postprocessing.panoptic import PanopticOutput, panoptic
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.semantic import semantic
from ovrcoat.postprocessing.specks import without_specks
from ovrcoat.postprocessing.stability import stability
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.results.background import background_shares
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.mask_reasons import ExplanationSettings
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.structures import MaskPredictions, ScoredMasks

AnyResult = PanopticResult | SemanticResult | InstanceResult


def postprocess(
    predictions: MaskPredictions, sizes: ImageSizes, image: LoadedImage, *, prompt: SegmentationPrompt
) -> AnyResult:
    """Return the result of the prompt's task for one image (a batch of one)."""
    if prompt.task == "panoptic":
        return panoptic_with_outcomes(predictions, sizes, image, prompt=prompt)[0]
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


def panoptic_with_outcomes(
    predictions: MaskPredictions, sizes: ImageSizes, image: LoadedImage, *, prompt: SegmentationPrompt
) -> tuple[PanopticResult, tuple[MaskOutcome, ...]]:
    """Return the panoptic result of one image together with the status of every mask."""
    output = _panoptic_output(_score(predictions, prompt), sizes, prompt)
    return _panoptic_result(output, image, prompt), output.masks


def explain(
    predictions: MaskPredictions, sizes: ImageSizes, image: LoadedImage, *, prompt: SegmentationPrompt
) -> Explanation:
    """Return the panoptic result of one image, and an explanation of every mask."""
    scored = _score(predictions, prompt, keep_classifier_probs=True)
    output = _panoptic_output(scored, sizes, prompt, keep_assignment=True)
    vocabulary = prompt.vocabulary
    masks, regions = explain_masks(
        scored, sizes, output, categories=vocabulary.categories, background=vocabulary.background
    )
    return Explanation(
        _panoptic_result(output, image, prompt),
        masks,
        regions=regions,
        mask_logits=scored.mask_logits,
        sizes=sizes,
        settings=ExplanationSettings(
            trust=prompt.trust,
            object_mask_threshold=prompt.object_mask_threshold,
            overlap_threshold=prompt.overlap_threshold,
            duplicate_iou=prompt.settings.duplicate_iou,
            weight_by_stability=prompt.settings.weight_by_stability,
        ),
    )


def _panoptic_output(
    scored: ScoredMasks, sizes: ImageSizes, prompt: SegmentationPrompt, *, keep_assignment: bool = False
) -> PanopticOutput:
    output = panoptic(
        scored,
        sizes,
        categories=prompt.vocabulary.categories,
        background=prompt.vocabulary.background,
        object_mask_threshold=prompt.object_mask_threshold,
        overlap_threshold=prompt.overlap_threshold,
        duplicate_iou=prompt.settings.duplicate_iou,
        keep_assignment=keep_assignment,
    )
    return without_specks(output, min_share=prompt.settings.min_component_share)


def _panoptic_result(
    output: PanopticOutput, image: LoadedImage, prompt: SegmentationPrompt
) -> PanopticResult:
    return PanopticResult(
        output.id_map,
        output.segments,
        prompt.vocabulary.categories,
        image.pixels,
        image.name,
        issues=prompt.issues,
        background=background_shares(output.background_areas, pixels=output.id_map.size),
        notes=image.notes,
    )


def _score(
    predictions: MaskPredictions, prompt: SegmentationPrompt, *, keep_classifier_probs: bool = False
) -> ScoredMasks:
    """Return the final probabilities of all masks."""
    settings = prompt.settings
    weights = stability(predictions.mask_logits[0]) if settings.weight_by_stability else None
    scored = score_masks(
        predictions,
        0,
        seen=prompt.seen,
        alpha=settings.alpha,
        beta=settings.beta,
        trust=weights if weights is not None and prompt.trust == "adaptive" else prompt.trust,
        ensemble_on_valid_mask=settings.ensemble_on_valid_mask,
        keep_classifier_probs=keep_classifier_probs,
    )
    if weights is not None:
        scored = replace(scored, weights=weights.cpu())
    return resolve_background(scored, visible=len(prompt.vocabulary.categories))
