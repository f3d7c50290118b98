"""What a user writes: checked by mypy --strict, never run."""

from pathlib import Path

from ovrcoat import (
    EncodedImage,
    ImageError,
    ImageInput,
    MaskStatus,
    OvrcoatError,
    PanopticResult,
    Segmenter,
    Vocabulary,
    VocabularyInput,
    find_images,
)


def largest(result: PanopticResult) -> str:
    return max(result.segments, key=lambda segment: segment.area).category


def rejected(encoded: EncodedImage, vocabulary: VocabularyInput) -> list[str | None]:
    masks = encoded.explain(vocabulary, trust="adaptive").masks
    return [mask.category for mask in masks if mask.status is not MaskStatus.SEGMENT]


def label_folder(folder: Path, segmenter: Segmenter) -> dict[str, str]:
    vocabulary = Vocabulary.read(["cat, kitty", "sofa", "wall#stuff"])
    labels = {}
    for source, result in segmenter.segment_many(find_images(folder), vocabulary, on_error="skip"):
        result.save(folder / "results")
        labels[str(source)] = largest(result)
    return labels


def category_ids(image: ImageInput, segmenter: Segmenter) -> set[int]:
    semantic = segmenter.segment(image, "coco", task="semantic", background="none")
    instances = segmenter.encode(image).segment("coco", task="instance")
    return {segment.category_id for segment in (*semantic.segments, *instances.segments)}


try:
    print(label_folder(Path("photos"), Segmenter.load("nano", device="cpu")))  # noqa: T201
except (ImageError, OvrcoatError) as error:
    print(error)  # noqa: T201
