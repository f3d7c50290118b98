"""Check panoptic ground truth and predictions in COCO's format for issues that make scores meaningless.

All issues are collected; none ends the check. The public evaluation code silently accepts ten kinds of them,
among them areas that let PQ exceed 1. Needs no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ovrcoat.evaluation.metrics.panoptic_quality import Overlap
from ovrcoat.formats.annotations import AREA_NOT_GIVEN, MAX_SEGMENTS, ImageId, SegmentAnnotation
from ovrcoat.formats.panoptic_json import is_image_id, is_integer
from ovrcoat.formats.panoptic_png import MAX_SEGMENT_ID, VOID, png_name
from ovrcoat.issues import IssueList
from ovrcoat.system.json_values import as_integer
from ovrcoat.system.paths import leads_outside
from ovrcoat.vocabulary import Category

Side = Literal["truth", "prediction"]
SIDE_NAMES: dict[Side, str] = {"truth": "ground truth", "prediction": "prediction"}
Occurrence = tuple[str, str]  # issue code, example
MAX_SHOWN_IDS = 8  # known category ids that an example lists


@dataclass(frozen=True, slots=True)
class PanopticAnnotation:
    """One image of a panoptic JSON.

    Attributes:
        image_id: Id of the image.
        file_name: PNG file, relative to the folder of PNGs.
        segments: Its segments. Areas of predictions are `AREA_NOT_GIVEN`: the JSON's values are not used.
    """

    image_id: ImageId
    file_name: str
    segments: tuple[SegmentAnnotation, ...]


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Ground truth and prediction of one image.

    Attributes:
        truth: The ground truth.
        prediction: The prediction.
        listed_size: (width, height) as the JSON of the ground truth states it; None if it does not.
    """

    truth: PanopticAnnotation
    prediction: PanopticAnnotation
    listed_size: tuple[object, object] | None = None


def check_categories(document: Mapping[str, Any], issues: IssueList) -> tuple[Category, ...]:
    """Check the categories of the ground truth; return the usable ones."""
    entries = document.get("categories")
    if not isinstance(entries, list) or not entries:
        issues.report("json-not-panoptic", "the ground truth has no list of categories")
        return ()
    categories: dict[int, Category] = {}
    for index, entry in enumerate(entries):
        id = as_integer(entry.get("id")) if isinstance(entry, dict) else None
        if not is_integer(id):
            issues.report("category-invalid", f"entry {index}: {str(entry)[:80]}")
            continue
        if id in categories:
            issues.report("category-twice", f"category {id}")
        is_thing = entry.get("isthing")
        if is_thing not in (0, 1):
            issues.report("isthing-missing", f"category {id}: isthing is {_value_text(is_thing)}")
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            issues.report("category-name-missing", f"category {id}")
            name = str(id)
        synonyms = entry.get("synonyms")  # written by ovrcoat itself
        more = [text for text in synonyms if isinstance(text, str)] if isinstance(synonyms, list) else []
        categories[id] = Category((name, *more), bool(is_thing), id)
    return tuple(categories.values())


def check_annotations(
    document: Mapping[str, Any], *, side: Side, categories: Sequence[Category], issues: IssueList
) -> dict[ImageId, PanopticAnnotation]:
    """Check the annotations of one side; return the usable ones by image id, of repeated ones the first."""
    entries = document.get("annotations")
    if not isinstance(entries, list):
        issues.report("json-not-panoptic", f"the {SIDE_NAMES[side]} has no list of annotations")
        return {}
    if not entries:
        code = "no-truth" if side == "truth" else "no-predictions"
        issues.report(code, f"the list of the {SIDE_NAMES[side]} is empty")
    known = {category.id: category.is_thing for category in categories}
    annotations: dict[ImageId, PanopticAnnotation] = {}
    files: set[str] = set()
    for index, entry in enumerate(entries):
        if not _is_annotation(entry):
            issues.report("annotation-invalid", f"{SIDE_NAMES[side]}, annotation {index}: {str(entry)[:80]}")
            continue
        image_id, file_name = as_integer(entry["image_id"]), png_name(entry["file_name"])
        assert is_image_id(image_id), "checked by _is_annotation"
        subject = f"{SIDE_NAMES[side]}, image {image_id!r}"
        if image_id in annotations:
            issues.report(f"{side}-image-twice", subject)
            continue
        if leads_outside(file_name):
            issues.report("file-outside", f"{subject}: {file_name!r}")
            continue
        if file_name in files:
            issues.report("file-twice", f"{subject}: {file_name}")
        files.add(file_name)
        if len(entry["segments_info"]) > MAX_SEGMENTS:
            issues.report("segments-too-many", f"{subject}: {len(entry['segments_info']):,} segments")
            continue
        segments = _check_segments(entry["segments_info"], known, side=side, subject=subject, issues=issues)
        annotations[image_id] = PanopticAnnotation(image_id, file_name, segments)
    return annotations


def pair_annotations(
    truths: Mapping[ImageId, PanopticAnnotation],
    predictions: Mapping[ImageId, PanopticAnnotation],
    *,
    images: object,
    issues: IssueList,
) -> tuple[ImagePair, ...]:
    """Pair ground truth and predictions by image id, in the order of the ground truth.

    Args:
        truths: Ground truth by image id.
        predictions: Predictions by image id.
        images: The ground truth's list of images, unchecked.
        issues: Receives the issues of images that have no partner.
    """
    listed = {
        as_integer(entry["id"]): (as_integer(entry.get("width")), as_integer(entry.get("height")))
        for entry in (images if isinstance(images, list) else [])
        if isinstance(entry, dict) and is_image_id(as_integer(entry.get("id")))
    }
    for image_id in listed.keys() - truths.keys() if truths else ():
        issues.report("image-without-annotation", f"image {image_id!r}")
    unpaired = {str(image_id): image_id for image_id in predictions if image_id not in truths}
    missing = [image_id for image_id in truths if image_id not in predictions] if predictions else []
    for image_id in missing:
        if (other := unpaired.pop(str(image_id), None)) is not None:
            issues.report("image-id-type", f"{image_id!r} in the ground truth, {other!r} in the prediction")
        else:
            issues.report("prediction-missing", f"image {image_id!r}")
    for other in unpaired.values() if truths else ():
        issues.report("prediction-extra", f"image {other!r}")
    return tuple(
        ImagePair(truth, predictions[image_id], listed.get(image_id))
        for image_id, truth in truths.items()
        if image_id in predictions
    )


def find_pixel_issues(pair: ImagePair, overlap: Overlap) -> Iterable[Occurrence]:
    """Yield contradictions between the pixels of one image and its JSON entries."""
    subject = f"image {pair.truth.image_id!r}"
    for side, annotation, areas in (
        ("truth", pair.truth, overlap.true_areas),
        ("prediction", pair.prediction, overlap.predicted_areas),
    ):
        listed = {segment.id for segment in annotation.segments}
        for id in sorted(listed - areas.keys()):
            yield f"{side}-segment-without-pixels", f"{subject}, segment {id} in {annotation.file_name}"
        for id in sorted(areas.keys() - listed - {VOID}):
            yield (
                f"{side}-pixels-without-segment",
                f"{subject}, id {id} with {areas[id]} pixels in {annotation.file_name}",
            )
    for segment in pair.truth.segments:
        pixels = overlap.true_areas.get(segment.id)
        if pixels is not None and segment.area not in (AREA_NOT_GIVEN, pixels):
            yield "areas-differ", f"{subject}, segment {segment.id}: JSON {segment.area}, pixels {pixels}"


def _check_segments(
    entries: list[Any], known: Mapping[int, bool], *, side: Side, subject: str, issues: IssueList
) -> tuple[SegmentAnnotation, ...]:
    segments: dict[int, SegmentAnnotation] = {}
    repeats: Counter[tuple[str, int]] = Counter()  # (issue code, category id), reported once per image
    for entry in entries:
        id = as_integer(entry.get("id")) if isinstance(entry, dict) else None
        if (code := _id_issue(id)) is not None:
            issues.report(code, f"{subject}: {str(entry)[:80]}")
            continue
        assert isinstance(id, int), "checked by _id_issue"
        segment = f"{subject}, segment {id}"
        if id in segments:
            issues.report("segment-id-twice", segment)
            continue
        category_id = _check_category_id(entry, known, side=side, segment=segment, issues=issues)
        is_crowd, area = False, AREA_NOT_GIVEN
        if side == "truth":
            is_crowd, area = _check_crowd_and_area(entry, segment, issues)
        segments[id] = SegmentAnnotation(id, category_id, area, is_crowd)
        if is_crowd:
            repeats["crowd-twice", category_id] += 1
        elif side == "prediction" and not known.get(category_id, True):
            repeats["stuff-in-pieces", category_id] += 1
    for (code, category_id), count in repeats.items():
        if count > 1:
            issues.report(code, f"{subject}, category {category_id}: {count} segments")
    return tuple(segments.values())


def _check_category_id(
    entry: Mapping[str, Any], known: Mapping[int, bool], *, side: Side, segment: str, issues: IssueList
) -> int:
    """Return the segment's category id, or -1 if it is invalid.

    The segment is kept in either case, so that its pixels do not cause a second issue.
    """
    category_id = as_integer(entry.get("category_id"))
    if not is_integer(category_id):
        issues.report("category-id-invalid", f"{segment}: category_id is {_value_text(category_id)}")
        return -1
    if category_id not in known:
        ids = ", ".join(map(str, list(known)[:MAX_SHOWN_IDS])) + (" …" if len(known) > MAX_SHOWN_IDS else "")
        issues.report(f"{side}-category-unknown", f"{segment}: category {category_id}; known: {ids}")
    return category_id


def _check_crowd_and_area(entry: Mapping[str, Any], segment: str, issues: IssueList) -> tuple[bool, int]:
    """Return whether a ground-truth segment is a crowd, and its area."""
    is_crowd, area = entry.get("iscrowd"), as_integer(entry.get("area"))
    if is_crowd is None:
        issues.report("iscrowd-missing", segment)
    elif is_crowd not in (0, 1):
        issues.report("iscrowd-invalid", f"{segment}: {_value_text(is_crowd)}")
    if not is_integer(area) or area < 0:
        issues.report("area-missing", f"{segment}: area is {_value_text(area)}")
        area = AREA_NOT_GIVEN
    return is_crowd == 1, area


def _id_issue(id: object) -> str | None:
    """Return the issue code of a segment id, or None if it is valid."""
    if not is_integer(id):
        return "segment-invalid"
    if id == VOID:
        return "segment-id-zero"
    return None if 0 < id <= MAX_SEGMENT_ID else "segment-id-too-large"


def _is_annotation(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and is_image_id(as_integer(entry.get("image_id")))
        and isinstance(entry.get("file_name"), str)
        and isinstance(entry.get("segments_info"), list)
    )


def _value_text(value: object) -> str:
    return "missing" if value is None else repr(value)[:40]
