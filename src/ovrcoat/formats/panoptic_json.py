"""COCO's panoptic JSON, checked: from its bytes to categories and records. All faults are told at once."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.formats.annotations import ImageId, Record, TrueSegment
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.catalog import complete, match_key
from ovrcoat.vocabulary.entries import split_names
from ovrcoat.vocabulary.records import read_entries

MAX_SEGMENT_ID = (1 << 24) - 1  # three bytes of a PNG; 0 is void
MAX_AREA = 1 << 31
FORM = (
    'Expected COCO\'s panoptic form: {"images": [{"id", "file_name", "width", "height"}], "annotations": '
    '[{"image_id", "file_name", "segments_info": [{"id", "category_id", "area", "iscrowd"}]}], '
    '"categories": [{"id", "name", "isthing"}]}'
)
FilePaths = Callable[[ImageId, str], str]  # (image id, file name in the JSON) → path in the data set


@dataclass(frozen=True, slots=True)
class PanopticDocument:
    """What a panoptic JSON says of its images; `sizes` are (height, width) of those that have one."""

    records: tuple[Record, ...]
    sizes: dict[ImageId, tuple[int, int]]


def parse_json(content: bytes, *, place: str) -> dict[str, Any]:
    """Decode a JSON file that holds an object.

    Raises:
        DatasetError: it is no JSON, or another value.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{place}: this is no valid JSON ({error}); copy or download it again, it may be cut off"
        ) from error
    if not isinstance(data, dict):
        raise DatasetError(f"{place}: this JSON holds a {type(data).__name__}, not an object. {FORM}")
    return data


def read_categories(data: dict[str, Any], *, place: str) -> tuple[Category, ...]:
    """The categories of a user's own file: "a, b" are synonyms; without `isthing` the presets are asked.

    Raises:
        DatasetError: there are none, their form is wrong, an id is missing or given twice.
    """
    try:
        entries, _ = read_entries(data, origin=place)
        if any(entry.id is None for entry in entries):
            raise DatasetError(f'{place}: every category needs an "id", which its segments name. {FORM}')
        categories = complete([replace(entry, names=tuple(dict.fromkeys(entry.names))) for entry in entries])
    except VocabularyError as error:
        raise DatasetError(str(error)) from error
    if not categories:
        raise DatasetError(f'{place}: "categories" is empty. {FORM}')
    check_unique_ids(categories, place=place)
    return categories


def check_unique_ids(categories: Iterable[Category], *, place: str) -> None:
    """Refuse categories that share an id.

    Raises:
        DatasetError: names the ids.
    """
    twice = [str(id) for id, times in Counter(category.id for category in categories).items() if times > 1]
    if twice:
        raise DatasetError(f"{place}: several categories have the id {', '.join(twice)}; give each its own")


def check_categories(data: dict[str, Any], expected: Iterable[Category], *, place: str) -> None:
    """Compare a release's own category list with ours, by id; names count only if they belong to another id.

    Raises:
        DatasetError: an id is missing or unknown, a thing is stuff, or a name stands at another id.
    """
    ours = {category.id: category for category in expected}
    theirs = {category.id: category for category in read_categories(data, place=place)}
    issues = IssueList()
    for id in ours.keys() - theirs.keys():
        issues.add("category-missing", "categories are missing", example=f"{id} {ours[id].name}")
    for id in theirs.keys() - ours.keys():
        issues.add("category-unknown", "categories are unknown", example=f"{id} {theirs[id].name}")
    id_of_name = {match_key(category.name): id for id, category in ours.items()}
    listed = data["categories"]
    has_kind = {entry["id"] for entry in listed if isinstance(entry, dict) and "isthing" in entry}
    for id in sorted(ours.keys() & theirs.keys()):
        if id in has_kind and ours[id].is_thing != theirs[id].is_thing:
            issues.add("category-kind", "thing and stuff differ", example=f"{id} {theirs[id].name}")
        found_at = id_of_name.get(match_key(split_names(theirs[id].name)[0]), id)
        if found_at != id:
            example = f"{theirs[id].name} has id {id}, expected {found_at}"
            issues.add("category-order", "names stand at other ids", example=example)
    issues.raise_errors(f"{place}: this is not the category list of the data set, so the file")


def read_published(
    content: bytes,
    *,
    place: str,
    categories: Sequence[Category],
    image_path: FilePaths,
    labels_path: FilePaths,
) -> PanopticDocument:
    """Read the panoptic JSON of a data set whose `categories` are known.

    Raises:
        DatasetError: as `parse_json`, `check_categories` and `read_document`.
    """
    data = parse_json(content, place=place)
    check_categories(data, categories, place=place)
    return read_document(
        data,
        place=place,
        category_ids=[category.id for category in categories],
        image_path=image_path,
        labels_path=labels_path,
    )


def read_document(
    data: dict[str, Any],
    *,
    place: str,
    category_ids: Iterable[int],
    image_path: FilePaths,
    labels_path: FilePaths,
) -> PanopticDocument:
    """Turn a panoptic JSON into records, one per annotation and in their order.

    Raises:
        DatasetError: all that is wrong, counted, with examples: missing or mistyped values, ids given twice,
            unknown categories, annotations without image, no annotation at all.
    """
    issues = IssueList()
    images = _read_images(_items(data, "images", issues), issues)
    known = frozenset(category_ids)
    records: dict[ImageId, Record] = {}
    for annotation in _items(data, "annotations", issues):
        image_id, file_name = annotation.get("image_id"), annotation.get("file_name")
        where = f"image {image_id!r}"
        if not _is_id(image_id) or image_id not in images:
            issues.add("no-image", 'annotations name an image that "images" lacks', example=where)
        elif not _is_file_name(file_name):
            issues.add("file-name", '"file_name" is missing or leads elsewhere', example=where)
        elif image_id in records:
            issues.add("image-twice", "images have several annotations", example=where)
        else:
            segments = _items(annotation, "segments_info", issues, where=where)
            records[image_id] = Record(
                image_id,
                image=image_path(image_id, images[image_id]["file_name"]),
                labels=labels_path(image_id, file_name),
                segments=tuple(_read_segments(segments, known, issues, where=where)),
            )
    if not records:
        issues.add("empty", "there is no annotation that can be used", example=place)
    if issues.with_severity("error"):
        issues.add("form", FORM, example=place)
    issues.raise_errors(place)
    return PanopticDocument(tuple(records.values()), _sizes(images))


def _items(
    data: dict[str, Any], key: str, issues: IssueList, *, where: str = "top"
) -> Iterator[dict[str, Any]]:
    """The objects of a list; anything else is a fault."""
    values = data.get(key)
    if not isinstance(values, list):
        issues.add(f"no-{key}", f'"{key}" is missing or no list', example=where)
        return
    for value in values:
        if isinstance(value, dict):
            yield value
        else:
            issues.add(f"bad-{key}", f'"{key}" holds something else than objects', example=repr(value)[:60])


def _read_images(items: Iterable[dict[str, Any]], issues: IssueList) -> dict[ImageId, dict[str, Any]]:
    images: dict[ImageId, dict[str, Any]] = {}
    for item in items:
        id = item.get("id")
        if not _is_id(id) or not _is_file_name(item.get("file_name")):
            issues.add("bad-image", 'images lack "id" or a plain "file_name"', example=repr(item)[:80])
        elif id in images:
            issues.add("image-id-twice", "images share an id", example=repr(id))
        else:
            images[id] = item
    return images


def _read_segments(
    items: Iterable[dict[str, Any]], known: frozenset[int], issues: IssueList, *, where: str
) -> Iterator[TrueSegment]:
    taken: set[int] = set()
    for item in items:
        id, category_id, area = item.get("id"), item.get("category_id"), item.get("area")
        is_crowd = item.get("iscrowd", 0)
        example = f"{where}, segment {id!r}"
        if not _is_int(id, 1, MAX_SEGMENT_ID):
            issues.add("segment-id", 'a segment\'s "id" is no number from 1 to 2²⁴ - 1', example=example)
        elif id in taken:
            issues.add("segment-twice", "segments of one image share an id", example=example)
        elif not isinstance(category_id, int) or category_id not in known:
            message = "segments have a category that the list of categories lacks"
            issues.add("category", message, example=f"{example}: {category_id!r}")
        elif not _is_int(area, 0, MAX_AREA):
            message = 'segments lack "area" (pixels), which panoptic quality needs'
            issues.add("area", message, example=f"{example}: {area!r}")
        elif is_crowd not in (0, 1):
            issues.add("crowd", '"iscrowd" is neither 0 nor 1', example=f"{example}: {is_crowd!r}")
        else:
            taken.add(id)
            yield TrueSegment(id, category_id, area, is_crowd=bool(is_crowd))


def _sizes(images: dict[ImageId, dict[str, Any]]) -> dict[ImageId, tuple[int, int]]:
    sizes = {id: (image.get("height"), image.get("width")) for id, image in images.items()}
    return {
        id: (height, width)
        for id, (height, width) in sizes.items()
        if isinstance(height, int) and isinstance(width, int)
    }


def _is_id(value: object) -> TypeGuard[ImageId]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_int(value: object, low: int, high: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_file_name(value: object) -> TypeGuard[str]:
    """A path inside the folder where such files lie."""
    return (
        isinstance(value, str) and bool(value) and not value.startswith("/") and ".." not in value.split("/")
    )
