"""From a validated request to an embedded prompt. No text from a client is taken for a path."""

from collections.abc import Sequence

from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.server.api_errors import ApiError
from ovrcoat.server.schemas import ClassItem, SegmentRequest
from ovrcoat.server.settings import ServerSettings
from ovrcoat.vocabulary import Vocabulary

BACKGROUND_MODES = ("auto", "on", "none", "keep")


def encode_prompt(
    segmenter: Segmenter, request: SegmentRequest, settings: ServerSettings
) -> SegmentationPrompt:
    """Check and embed the vocabulary of a request, and check its options.

    Raises:
        ApiError: too many or too long class names.
        OvrcoatError: the vocabulary or an option cannot be used.
    """
    vocabulary = _read_classes(request.vocabulary, settings, field="vocabulary")
    background: str | Vocabulary
    if isinstance(request.background, str) and request.background in BACKGROUND_MODES:
        background = request.background
    else:
        background = _read_classes(request.background, settings, field="background")
    return segmenter.prompt(
        vocabulary,
        task=request.task,
        trust=request.trust,
        background=background,
        object_mask_threshold=request.object_mask_threshold,
        overlap_threshold=request.overlap_threshold,
        score_threshold=request.score_threshold,
    )


def _read_classes(
    source: str | Sequence[str | ClassItem], settings: ServerSettings, *, field: str
) -> Vocabulary:
    records = source if isinstance(source, str) else [_class_record(item) for item in source]
    length, longest_text = len(str(records)), settings.max_class_names * settings.max_name_length
    if length > longest_text:  # before it is parsed, which takes seconds for a megabyte
        raise ApiError(
            422,
            "too_many_class_names",
            f"the {field} has {length:,} characters, expected at most {longest_text:,}; split it",
        )
    vocabulary = Vocabulary.from_untrusted(records)
    if vocabulary.name is not None:  # a preset
        return vocabulary
    names = [name for category in vocabulary.categories for name in category.names]
    if len(names) > settings.max_class_names:
        raise ApiError(
            422,
            "too_many_class_names",
            f"the {field} has {len(names):,} class names, expected at most {settings.max_class_names:,}; "
            "split it",
        )
    longest = max(names, key=len, default="")
    if len(longest) > settings.max_name_length:
        raise ApiError(
            422,
            "class_name_too_long",
            f"the {field} has a class name of {len(longest):,} characters, expected at most "
            f"{settings.max_name_length}; shorten {longest[:40]!r}…",
        )
    return vocabulary


def _class_record(item: str | ClassItem) -> str | dict[str, object]:
    if isinstance(item, str):
        return item
    return {"name": item.name, "synonyms": item.synonyms, "isthing": item.is_thing}
