"""Parser of COCO's panoptic JSON: returns categories and records, and reports all issues at once."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.formats.annotations import AREA_NOT_GIVEN, MAX_SEGMENTS, ImageId, Record, SegmentAnnotation
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.panoptic_png import MAX_SEGMENT_ID, png_name
from ovrcoat.issues import Issue, IssueList
from ovrcoat.system.json_values import as_integer
from ovrcoat.system.paths import leads_outside
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.catalog import complete, match_key
from ovrcoat.vocabulary.entries import Entry, split_names
from ovrcoat.vocabulary.hints import check_changes
from ovrcoat.vocabulary.names import recognize
from ovrcoat.vocabulary.records import read_entries

MAX_AREA = 1 << 31
PANOPTIC_FORMAT = (
    'COCO\'s panoptic format: {"images": [{"id", "file_name", "width", "height"}], "annotations": '
    '[{"image_id", "file_name", "segments_info": [{"id", "category_id", "area", "iscrowd"}]}], '
    '"categories": [{"id", "name", "isthing"}]}'
)
PathOf = Callable[[ImageId, str], str]  # (image id, file name in the JSON) → path in the dataset


@dataclass(frozen=True, slots=True)
class PanopticSource:
    """Panoptic ground truth or predictions in files.

    Attributes:
        json: JSON file in COCO's panoptic format.
        folder: Folder of the panoptic PNGs that the JSON refers to.
    """

    json: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class PanopticDocument:
    """Content of a panoptic JSON.

    Attributes:
        records: One per annotation, in the order of the file.
        sizes: (height, width) in pixels of the images whose size the JSON states.
        issues: Warnings and notes, for example images without annotation.
    """

    records: tuple[Record, ...]
    sizes: dict[ImageId, tuple[int, int]]
    issues: tuple[Issue, ...] = ()


def read_categories(
    data: dict[str, Any], *, location: str, issues: IssueList | None = None
) -> tuple[Category, ...]:
    """Read the categories of a user's own file.

    Synonyms are separated by commas ("cat, kitty"). A missing `isthing` is looked up in the presets.
    Dataset spellings ("wall-other-merged") are replaced, see `vocabulary/names.py`; `issues` lists them.

    Raises:
        DatasetError: The list is empty or malformed, an id is missing, or two categories share an id.
    """
    found = recognize(_read_entries(data, location=location))
    if issues is not None:
        for issue in check_changes(found.changes):
            issues.include(issue)
    return _complete(found.entries, location=location)


def _read_entries(data: dict[str, Any], *, location: str) -> tuple[Entry, ...]:
    try:
        entries, _ = read_entries(_with_integers(data), origin=location)
    except VocabularyError as error:
        raise DatasetError(str(error)) from error
    if any(entry.id is None for entry in entries):
        raise DatasetError(
            f'{location}: every category needs an "id", which segments refer to. Expected {PANOPTIC_FORMAT}'
        )
    return tuple(replace(entry, names=tuple(dict.fromkeys(entry.names))) for entry in entries)


def _complete(entries: Sequence[Entry], *, location: str) -> tuple[Category, ...]:
    try:
        categories = complete(entries)
    except VocabularyError as error:
        raise DatasetError(str(error)) from error
    if not categories:
        raise DatasetError(f'{location}: "categories" is empty. Expected {PANOPTIC_FORMAT}')
    check_unique_ids(categories, location=location)
    return categories


def _with_integers(data: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose categories have integers where integral floats were."""
    categories = data.get("categories")
    if not isinstance(categories, list):
        return data
    return data | {
        "categories": [
            {key: as_integer(value) for key, value in category.items()}
            if isinstance(category, dict)
            else category
            for category in categories
        ]
    }


def check_unique_ids(categories: Iterable[Category], *, location: str) -> None:
    """Reject categories that share an id.

    Raises:
        DatasetError: Lists the shared ids.
    """
    counts = Counter(category.id for category in categories)
    if shared := [str(id) for id, count in counts.items() if count > 1]:
        raise DatasetError(
            f"{location}: several categories have the id {', '.join(shared)}; give each category its own id"
        )


def check_categories(data: dict[str, Any], expected: Iterable[Category], *, location: str) -> None:
    """Compare the categories of a release with the published list.

    Categories are compared by id. A different name is an issue only if it belongs to another id.

    Raises:
        DatasetError: An id is missing or unknown, thing and stuff differ, or a name belongs to another id.
    """
    published = {category.id: category for category in expected}
    own = _complete(_read_entries(data, location=location), location=location)  # with the names of the file
    listed = {category.id: category for category in own}
    issues = IssueList()
    for id in published.keys() - listed.keys():
        issues.add("category-missing", "categories are missing", example=f"{id} {published[id].name}")
    for id in listed.keys() - published.keys():
        issues.add("category-unknown", "categories are unknown", example=f"{id} {listed[id].name}")
    id_of_name = {match_key(category.name): id for id, category in published.items()}
    has_kind = {entry["id"] for entry in data["categories"] if isinstance(entry, dict) and "isthing" in entry}
    for id in sorted(published.keys() & listed.keys()):
        if id in has_kind and published[id].is_thing != listed[id].is_thing:
            issues.add("category-kind", "thing and stuff differ", example=f"{id} {listed[id].name}")
        expected_id = id_of_name.get(match_key(split_names(listed[id].name)[0]), id)
        if expected_id != id:
            example = f"{listed[id].name} has id {id}, expected {expected_id}"
            issues.add("category-order", "names belong to other ids", example=example)
    issues.raise_errors(f"{location}: the categories are not those of the dataset, so the file")


def read_published(
    content: bytes,
    *,
    location: str,
    categories: Sequence[Category],
    image_path: PathOf,
    labels_path: PathOf,
) -> PanopticDocument:
    """Read the panoptic JSON of a published dataset, whose `categories` are known.

    Raises:
        DatasetError: The content is not valid JSON, or as for `check_categories` and `read_document`.
    """
    data = parse_json_object(content, location=location, expected=PANOPTIC_FORMAT)
    check_categories(data, categories, location=location)
    return read_document(
        data,
        location=location,
        category_ids=[category.id for category in categories],
        image_path=image_path,
        labels_path=labels_path,
    )


def read_document(
    data: dict[str, Any],
    *,
    location: str,
    category_ids: Iterable[int],
    image_path: PathOf,
    labels_path: PathOf,
) -> PanopticDocument:
    """Turn a panoptic JSON into records, one per annotation and in the same order.

    Args:
        data: The parsed JSON.
        location: The file, for error messages.
        category_ids: Ids that segments may refer to.
        image_path: Maps (image id, file name) to the path of an image in the dataset.
        labels_path: Maps (image id, file name) to the path of a panoptic PNG in the dataset.

    Raises:
        DatasetError: Lists all issues with counts and examples: missing values, wrong types, repeated ids,
            unknown categories, annotations without an image, or no annotation at all.
    """
    issues = IssueList()
    images = _read_images(_objects(data, "images", issues), issues)
    known = frozenset(category_ids)
    records: dict[ImageId, Record] = {}
    for annotation in _objects(data, "annotations", issues):
        image_id, file_name = as_integer(annotation.get("image_id")), annotation.get("file_name")
        subject = f"image {image_id!r}"
        if not is_image_id(image_id) or image_id not in images:
            issues.add("no-image", 'annotations refer to an image that is not in "images"', example=subject)
        elif not _is_file_name(file_name):
            issues.add("file-name", '"file_name" is missing or leads out of its folder', example=subject)
        elif image_id in records:
            issues.add("image-twice", "images have several annotations", example=subject)
        else:
            listed = annotation.get("segments_info")
            if isinstance(listed, list) and len(listed) > MAX_SEGMENTS:
                issues.add("segments", f"images have more than {MAX_SEGMENTS:,} segments", example=subject)
                continue
            segments = _objects(annotation, "segments_info", issues, subject=subject)
            records[image_id] = Record(
                image_id,
                image=image_path(image_id, images[image_id]["file_name"]),
                labels=labels_path(image_id, png_name(file_name)),
                segments=tuple(_read_segments(segments, known, issues, subject=subject)),
            )
    if not records:
        issues.add("empty", "there is no usable annotation", example=location)
    if issues.with_severity("error"):
        issues.add("form", f"Expected {PANOPTIC_FORMAT}", example=location)
    issues.raise_errors(location)
    for image_id, image in images.items():
        if image_id not in records:
            report_unlabeled(issues, image["file_name"])
    return PanopticDocument(tuple(records.values()), _sizes(images), tuple(issues))


def report_unlabeled(issues: IssueList, file_name: str) -> None:
    """Report an image that is not used because it has no labels."""
    message = "images have no labels and are left out; add labels if they should be used"
    issues.add("image-without-labels", message, example=file_name, severity="note")


def is_image_id(value: object) -> TypeGuard[ImageId]:
    """Return whether a JSON value can be an image id: an integer or text."""
    return isinstance(value, str) or is_integer(value)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a JSON value is an integer; `true` and `false` are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _objects(
    data: dict[str, Any], key: str, issues: IssueList, *, subject: str = "top level"
) -> Iterator[dict[str, Any]]:
    """Yield the objects of the list `data[key]`; report everything else."""
    values = data.get(key)
    if not isinstance(values, list):
        issues.add(f"no-{key}", f'"{key}" is missing or not a list', example=subject)
        return
    for value in values:
        if isinstance(value, dict):
            yield value
        else:
            issues.add(f"bad-{key}", f'"{key}" holds values that are not objects', example=repr(value)[:60])


def _read_images(items: Iterable[dict[str, Any]], issues: IssueList) -> dict[ImageId, dict[str, Any]]:
    images: dict[ImageId, dict[str, Any]] = {}
    for item in items:
        id = as_integer(item.get("id"))
        if not is_image_id(id) or not _is_file_name(item.get("file_name")):
            issues.add("bad-image", 'images lack "id" or a plain "file_name"', example=repr(item)[:80])
        elif id in images:
            issues.add("image-id-twice", "images share an id", example=repr(id))
        else:
            images[id] = item
    return images


def _read_segments(
    items: Iterable[dict[str, Any]], known: frozenset[int], issues: IssueList, *, subject: str
) -> Iterator[SegmentAnnotation]:
    used: set[int] = set()
    for item in items:
        id, category_id, area = (as_integer(item.get(key)) for key in ("id", "category_id", "area"))
        is_crowd = item.get("iscrowd", 0)
        example = f"{subject}, segment {id!r}"
        if not _is_between(id, 1, MAX_SEGMENT_ID):
            issues.add("segment-id", 'a segment\'s "id" is not a number from 1 to 2²⁴ - 1', example=example)
        elif id in used:
            issues.add("segment-twice", "segments of one image share an id", example=example)
        elif not is_integer(category_id) or category_id not in known:
            message = "segments have a category that is not in the list of categories"
            issues.add("category", message, example=f"{example}: {category_id!r}")
        elif is_crowd not in (0, 1):
            issues.add("crowd", '"iscrowd" is neither 0 nor 1', example=f"{example}: {is_crowd!r}")
        else:
            used.add(id)
            if not _is_between(area, 0, MAX_AREA):
                area = AREA_NOT_GIVEN
                message = (
                    'segments lack a usable "area" (a whole number of pixels), so their pixels are counted'
                )
                issues.add("area", message, example=f"{example}: {item.get('area')!r}", severity="warning")
            yield SegmentAnnotation(id, category_id, area, is_crowd=bool(is_crowd))


def _sizes(images: dict[ImageId, dict[str, Any]]) -> dict[ImageId, tuple[int, int]]:
    sizes = {
        id: (as_integer(image.get("height")), as_integer(image.get("width"))) for id, image in images.items()
    }
    return {
        id: (height, width)
        for id, (height, width) in sizes.items()
        if isinstance(height, int) and isinstance(width, int)
    }


def _is_between(value: object, low: int, high: int) -> TypeGuard[int]:
    return is_integer(value) and low <= value <= high


def _is_file_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and not leads_outside(value)
