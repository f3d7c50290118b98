"""From a result to the JSON of a response."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from ovrcoat.formats.panoptic_png import id_map_to_image
from ovrcoat.results.coco import encode_mask
from ovrcoat.results.colors import category_colors, instance_colors
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.server.polygons import mask_polygons
from ovrcoat.server.schemas import (
    BackgroundEntry,
    CategoryEntry,
    CategoryScore,
    ExplainAnswer,
    IssueEntry,
    MasksFormat,
    PresetAnswer,
    PresetEntry,
    PresetList,
    RunLengths,
    SegmentAnswer,
    SegmentEntry,
    VocabularyEntry,
)
from ovrcoat.vocabulary import Category, Vocabulary, list_presets


def segment_answer(
    result: AnyResult,
    prompt: SegmentationPrompt,
    *,
    masks: MasksFormat,
    notes: Sequence[str],
    seconds: float,
) -> SegmentAnswer:
    """Return the response of a result.

    Args:
        result: the result of `prompt`.
        prompt: gives the task and the trust that were used.
        masks: format of the masks.
        notes: what is unusual about the image file.
        seconds: computing time.
    """
    height, width = result.size
    colors = instance_colors(result.categories, [segment.category_id for segment in result.segments])
    segments = [
        SegmentEntry(
            id=segment.id,
            category_id=segment.category_id,
            category=segment.category,
            is_thing=segment.is_thing,
            score=segment.score,
            area=segment.area,
            bbox=list(segment.bbox),
            objectness=segment.objectness,
            objectness_before=segment.objectness_before,
            clip_confidence=segment.clip_confidence,
            rescued=segment.rescued,
            color=list(color),
            top=[CategoryScore(category=name, score=score) for name, score in segment.top],
            segmentation=_segmentation(result, segment.id, masks=masks),
        )
        for segment, color in zip(result.segments, colors, strict=True)
    ]
    issues = [IssueEntry(severity=issue.severity, message=str(issue)) for issue in prompt.issues]
    return SegmentAnswer(
        width=width,
        height=height,
        task=prompt.task,
        trust=prompt.trust,
        segments=segments,
        id_map=id_png(result.segment_map()) if masks == "png" else None,
        categories=_vocabulary(result.categories),
        background=[BackgroundEntry(name=one.category, share=one.share) for one in result.background],
        issues=[*issues, *(IssueEntry(severity="note", message=note) for note in notes)],
        seconds=seconds,
    )


def explain_answer(
    explanation: Explanation, result: SegmentAnswer, *, point: Sequence[int] | None
) -> ExplainAnswer:
    """Return the response of an explanation.

    Args:
        explanation: of the whole image.
        result: the response of its result.
        point: (x, y) of a pixel to explain as well.

    Raises:
        ConfigError: the pixel is not in the image.
    """
    document = explanation.to_dict()
    return ExplainAnswer(
        **{key: document[key] for key in ("width", "height", "settings", "counts", "masks")},
        point=None if point is None else explanation.at(point[0], point[1]).to_dict(),
        result=result,
    )


def id_png(id_map: Int32[np.ndarray, "height width"]) -> str:
    """Return the base64 of a COCO panoptic PNG."""
    buffer = io.BytesIO()
    id_map_to_image(id_map).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def overlay_png(result: AnyResult) -> bytes:
    """Return the drawing of a result as PNG."""
    buffer = io.BytesIO()
    result.draw().save(buffer, format="PNG")
    return buffer.getvalue()


def presets() -> PresetList:
    """Return the names and sizes of all presets."""
    vocabularies = [Vocabulary.named(name) for name in list_presets()]
    return PresetList(
        vocabularies=[
            PresetEntry(
                name=vocabulary.name or "",
                categories=len(vocabulary),
                things=sum(category.is_thing for category in vocabulary.categories),
            )
            for vocabulary in vocabularies
        ]
    )


def preset(name: str) -> PresetAnswer:
    """Return the categories of a preset, with their colors."""
    categories = Vocabulary.named(name).categories
    colors = category_colors(categories)
    return PresetAnswer(
        name=name,
        categories=[
            CategoryEntry(
                id=category.id,
                name=category.name,
                synonyms=list(category.names[1:]),
                is_thing=category.is_thing,
                color=list(colors[category.id]),
            )
            for category in categories
        ],
    )


def _vocabulary(categories: Sequence[Category]) -> list[VocabularyEntry]:
    colors = category_colors(categories)
    return [
        VocabularyEntry(
            id=category.id,
            name=category.name,
            is_thing=category.is_thing,
            color=list(colors[category.id]),
        )
        for category in categories
    ]


def _segmentation(
    result: AnyResult, segment_id: int, *, masks: MasksFormat
) -> RunLengths | list[list[float]] | None:
    if masks == "rle":
        return RunLengths(**encode_mask(result.mask(segment_id)))
    if masks == "polygons":
        return [polygon.reshape(-1).tolist() for polygon in mask_polygons(result.mask(segment_id))]
    return None
