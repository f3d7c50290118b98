"""A question answered for one image: words meet masks, and masks become a result. For `segmenter.py`."""

from dataclasses import dataclass

from ovrcoat.config import InferenceConfig
from ovrcoat.data.images import LoadedImage
from ovrcoat.postprocessing.background import resolve_background
from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.mask_status import ExplainedMask
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.semantic import semantic
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.structures import MaskPredictions, ScoredMasks

AnyResult = PanopticResult | SemanticResult | InstanceResult


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A panoptic result, and for every mask of the decoder (by query number) what became of it."""

    result: PanopticResult
    explained_masks: tuple[ExplainedMask, ...]


def score(predictions: MaskPredictions, prompt: SegmentationPrompt, settings: InferenceConfig) -> ScoredMasks:
    """Final probabilities of the masks of one image (a batch of one)."""
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


def answer(
    scored: ScoredMasks,
    sizes: ImageSizes,
    image: LoadedImage,
    *,
    prompt: SegmentationPrompt,
    settings: InferenceConfig,
) -> AnyResult:
    """The result of the question's task."""
    categories = prompt.vocabulary.categories
    if prompt.task == "semantic":
        category_map, segments = semantic(scored, sizes, categories=categories)
        return SemanticResult(category_map, segments, categories, image.pixels, image.name)
    if prompt.task == "instance":
        segments, masks = instances(scored, sizes, categories=categories, limit=settings.instances)
        return InstanceResult(sizes.output, segments, masks, categories, image.pixels, image.name)
    return explain(scored, sizes, image, prompt=prompt, settings=settings).result


def explain(
    scored: ScoredMasks,
    sizes: ImageSizes,
    image: LoadedImage,
    *,
    prompt: SegmentationPrompt,
    settings: InferenceConfig,
) -> Explanation:
    """The panoptic result with the fates of all masks."""
    categories = prompt.vocabulary.categories
    output = panoptic(
        scored,
        sizes,
        categories=categories,
        object_mask_threshold=prompt.object_mask_threshold,
        overlap_threshold=prompt.overlap_threshold,
        duplicate_iou=settings.duplicate_iou,
    )
    result = PanopticResult(output.id_map, output.segments, categories, image.pixels, image.name)
    return Explanation(result, output.explained_masks)
