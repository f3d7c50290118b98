"""A question answered for one photo: words meet masks, and masks become a result. For `segmenter.py`."""

from dataclasses import dataclass

from ovrcoat.config import InferenceConfig
from ovrcoat.data.images import Photo
from ovrcoat.postprocessing.mask_status import MaskFate
from ovrcoat.postprocessing.background import take_sides
from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.semantic import semantic
from ovrcoat.postprocessing.upsampling import PhotoSizes
from ovrcoat.segmentation.prompt import Question
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.structures import MaskPredictions, ScoredMasks

AnyResult = PanopticResult | SemanticResult | InstanceResult


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A panoptic result, and for every mask of the decoder (by query number) what became of it."""

    result: PanopticResult
    fates: tuple[MaskFate, ...]


def score(predictions: MaskPredictions, question: Question, settings: InferenceConfig) -> ScoredMasks:
    """Final probabilities of the masks of one photo (a batch of one)."""
    scored = score_masks(
        predictions,
        0,
        seen=question.seen,
        alpha=settings.alpha,
        beta=settings.beta,
        trust=question.trust,
        ensemble_on_valid_mask=settings.ensemble_on_valid_mask,
    )
    return take_sides(scored, visible=len(question.vocabulary.categories))


def answer(
    scored: ScoredMasks, sizes: PhotoSizes, photo: Photo, *, question: Question, settings: InferenceConfig
) -> AnyResult:
    """The result of the question's task."""
    categories = question.vocabulary.categories
    if question.task == "semantic":
        category_map, segments = semantic(scored, sizes, categories=categories)
        return SemanticResult(category_map, segments, categories, photo.pixels, photo.name)
    if question.task == "instance":
        segments, masks = instances(scored, sizes, categories=categories, limit=settings.instances)
        return InstanceResult(sizes.output, segments, masks, categories, photo.pixels, photo.name)
    return explain(scored, sizes, photo, question=question, settings=settings).result


def explain(
    scored: ScoredMasks, sizes: PhotoSizes, photo: Photo, *, question: Question, settings: InferenceConfig
) -> Explanation:
    """The panoptic result with the fates of all masks."""
    categories = question.vocabulary.categories
    output = panoptic(
        scored,
        sizes,
        categories=categories,
        object_mask_threshold=question.object_mask_threshold,
        overlap_threshold=question.overlap_threshold,
        duplicate_iou=settings.duplicate_iou,
    )
    result = PanopticResult(output.id_map, output.segments, categories, photo.pixels, photo.name)
    return Explanation(result, output.fates)
