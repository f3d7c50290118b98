"""Faults of panoptic truth and predictions (COCO's format) that a number must not be made from.

Every fault is gathered, none ends the check. The public evaluation code takes ten kinds of them silently,
among them areas that let PQ exceed 1. Needs no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal, TypeGuard

from ovrcoat.evaluation.checks.panoptic_faults import ID_LIMIT, Fault, report
from ovrcoat.evaluation.metrics.panoptic_quality import VOID, Overlap
from ovrcoat.formats.annotations import ImageId, TrueSegment
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category

Side = Literal["truth", "prediction"]
NOT_GIVEN = -1  # an area that is to be counted
SHOWN = 8  # known category ids that an example names


@dataclass(frozen=True, slots=True)
class Annotation:
    """One image of a panoptic JSON. Predicted areas are never given: what a JSON says of them is not used."""

    image_id: ImageId
    file_name: str
    segments: tuple[TrueSegment, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Truth and prediction of one image; `listed_size` is (width, height) as the truth's JSON lists them."""

    truth: Annotation
    prediction: Annotation
    listed_size: tuple[object, object] | None = None


def check_categories(document: Mapping[str, Any], issues: IssueList) -> tuple[Category, ...]:
    """The usable categories of the truth."""
    entries = document.get("categories")
    if not isinstance(entries, list) or not entries:
        report(issues, "json-not-panoptic", "the truth has no list of categories")
        return ()
    categories: dict[int, Category] = {}
    for place, entry in enumerate(entries):
        id = entry.get("id") if isinstance(entry, dict) else None
        if not _is_whole(id):
            report(issues, "category-invalid", f"entry {place}: {str(entry)[:80]}")
            continue
        if id in categories:
            report(issues, "category-twice", f"category {id}")
        is_thing = entry.get("isthing")
        if is_thing not in (0, 1):
            report(issues, "isthing-missing", f"category {id}: isthing is {_shown(is_thing)}")
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            report(issues, "category-name-missing", f"category {id}")
            name = str(id)
        synonyms = entry.get("synonyms")  # our own files have them
        more = [text for text in synonyms if isinstance(text, str)] if isinstance(synonyms, list) else []
        categories[id] = Category((name, *more), bool(is_thing), id)
    return tuple(categories.values())


def check_annotations(
    document: Mapping[str, Any], *, side: Side, categories: Sequence[Category], issues: IssueList
) -> dict[ImageId, Annotation]:
    """The usable annotations by image id; of repeats the first."""
    entries = document.get("annotations")
    if not isinstance(entries, list):
        report(issues, "json-not-panoptic", f"the {side} has no list of annotations")
        return {}
    if not entries:
        report(issues, "no-truth" if side == "truth" else "no-predictions", f"the {side}'s list is empty")
    known = {category.id: category.is_thing for category in categories}
    annotations: dict[ImageId, Annotation] = {}
    files: set[str] = set()
    for place, entry in enumerate(entries):
        if not _is_annotation(entry):
            report(issues, "annotation-invalid", f"{side}, annotation {place}: {str(entry)[:80]}")
            continue
        image_id, file_name = entry["image_id"], entry["file_name"]
        where = f"{side}, image {image_id!r}"
        if image_id in annotations:
            report(issues, f"{side}-image-twice", where)
            continue
        if _leads_outside(file_name):
            report(issues, "file-outside", f"{where}: {file_name!r}")
            continue
        if file_name in files:
            report(issues, "file-twice", f"{where}: {file_name}")
        files.add(file_name)
        segments = _check_segments(entry["segments_info"], known, side=side, where=where, issues=issues)
        annotations[image_id] = Annotation(image_id, file_name, segments)
    return annotations


def pair_up(
    truths: Mapping[ImageId, Annotation],
    predictions: Mapping[ImageId, Annotation],
    *,
    images: object,
    issues: IssueList,
) -> tuple[Pair, ...]:
    """Truth and prediction by image id, in the order of the truth; `images` is the truth's list of images."""
    listed = {
        entry["id"]: (entry.get("width"), entry.get("height"))
        for entry in (images if isinstance(images, list) else [])
        if isinstance(entry, dict) and _is_image_id(entry.get("id"))
    }
    for image_id in listed.keys() - truths.keys() if truths else ():
        report(issues, "image-unlabelled", f"image {image_id!r}")
    as_text = {str(image_id): image_id for image_id in predictions if image_id not in truths}
    lost = [image_id for image_id in truths if image_id not in predictions] if predictions else []
    for image_id in lost:
        if (other := as_text.pop(str(image_id), None)) is not None:
            report(issues, "image-id-type", f"{image_id!r} in the truth, {other!r} in the prediction")
        else:
            report(issues, "prediction-missing", f"image {image_id!r}")
    for other in as_text.values() if truths else ():
        report(issues, "prediction-extra", f"image {other!r}")
    return tuple(
        Pair(truth, predictions[image_id], listed.get(image_id))
        for image_id, truth in truths.items()
        if image_id in predictions
    )


def pixel_faults(pair: Pair, overlap: Overlap) -> Iterable[Fault]:
    """What the pixels of one image say against its JSON entries."""
    where = f"image {pair.truth.image_id!r}"
    for side, annotation, areas in (
        ("truth", pair.truth, overlap.true_areas),
        ("prediction", pair.prediction, overlap.predicted_areas),
    ):
        listed = {segment.id for segment in annotation.segments}
        for id in sorted(listed - areas.keys()):
            yield f"{side}-segment-without-pixels", f"{where}, segment {id} in {annotation.file_name}"
        for id in sorted(areas.keys() - listed - {VOID}):
            yield (
                f"{side}-pixels-without-segment",
                f"{where}, id {id} with {areas[id]} pixels in {annotation.file_name}",
            )
    for segment in pair.truth.segments:
        pixels = overlap.true_areas.get(segment.id)
        if pixels is not None and segment.area not in (NOT_GIVEN, pixels):
            yield "areas-differ", f"{where}, segment {segment.id}: JSON {segment.area}, pixels {pixels}"


def _check_segments(
    entries: list[Any], known: Mapping[int, bool], *, side: Side, where: str, issues: IssueList
) -> tuple[TrueSegment, ...]:
    segments: dict[int, TrueSegment] = {}
    repeats: Counter[tuple[str, int]] = Counter()  # (code, category id), said once per image
    for entry in entries:
        id = entry.get("id") if isinstance(entry, dict) else None
        if (fault := _id_fault(id)) is not None:
            report(issues, fault, f"{where}: {str(entry)[:80]}")
            continue
        assert isinstance(id, int), "_id_fault has seen to it"
        place = f"{where}, segment {id}"
        if id in segments:
            report(issues, "segment-id-twice", place)
            continue
        category_id = _category_id(entry, known, side=side, place=place, issues=issues)
        is_crowd, area = _truth_values(entry, place, issues) if side == "truth" else (False, NOT_GIVEN)
        segments[id] = TrueSegment(id, category_id, area, is_crowd)
        if is_crowd:
            repeats["crowd-twice", category_id] += 1
        elif side == "prediction" and not known.get(category_id, True):
            repeats["stuff-in-pieces", category_id] += 1
    for (code, category_id), count in repeats.items():
        if count > 1:
            report(issues, code, f"{where}, category {category_id}: {count} segments")
    return tuple(segments.values())


def _category_id(
    entry: Mapping[str, Any], known: Mapping[int, bool], *, side: Side, place: str, issues: IssueList
) -> int:
    """The segment's category, -1 for nonsense: the segment stays, so that its pixels are no second fault."""
    category_id = entry.get("category_id")
    if not _is_whole(category_id):
        report(issues, "category-id-invalid", f"{place}: category_id is {_shown(category_id)}")
        return -1
    if category_id not in known:
        ids = ", ".join(map(str, list(known)[:SHOWN])) + (" …" if len(known) > SHOWN else "")
        report(issues, f"{side}-category-unknown", f"{place}: category {category_id}; known: {ids}")
    return category_id


def _truth_values(entry: Mapping[str, Any], place: str, issues: IssueList) -> tuple[bool, int]:
    """Crowd or not, and the area."""
    is_crowd, area = entry.get("iscrowd"), entry.get("area")
    if is_crowd is None:
        report(issues, "iscrowd-missing", place)
    elif is_crowd not in (0, 1):
        report(issues, "iscrowd-invalid", f"{place}: {_shown(is_crowd)}")
    if isinstance(area, float) and area.is_integer():
        area = int(area)
    if not _is_whole(area) or area < 0:
        report(issues, "area-missing", f"{place}: area is {_shown(area)}")
        area = NOT_GIVEN
    return is_crowd == 1, area


def _id_fault(id: object) -> str | None:
    if not isinstance(id, int) or isinstance(id, bool):
        return "segment-invalid"
    if id == VOID:
        return "segment-id-zero"
    return None if 0 < id < ID_LIMIT else "segment-id-too-large"


def _is_annotation(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and _is_image_id(entry.get("image_id"))
        and isinstance(entry.get("file_name"), str)
        and isinstance(entry.get("segments_info"), list)
    )


def _is_image_id(value: object) -> bool:
    return _is_whole(value) or isinstance(value, str)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _leads_outside(file_name: str) -> bool:
    path = PurePosixPath(file_name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(file_name).drive)


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)[:40]
