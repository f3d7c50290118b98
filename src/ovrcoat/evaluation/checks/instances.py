"""Checks of files for mask AP: ground truth in COCO's instances format, and results.

Runs before any number is computed. Needs neither torch nor pycocotools, which takes most of these faults
silently or stops with a bare KeyError.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ovrcoat.evaluation.checks.rle import MaskArea, MaskFault, is_number, measure_mask
from ovrcoat.issues import IssueList, Severity

MOST_DETECTIONS = 100  # per image and category: the last of COCO's maxDets 1, 10, 100

# code → level, what it is, why it matters, what to do
FAULTS: dict[str, tuple[Severity, str]] = {
    "instances-malformed": (
        "error",
        "the ground truth lacks one of the lists images, annotations, categories, or an entry of them is no "
        "object: it is not COCO's instances format; convert it",
    ),
    "no-images": ("error", "the ground truth lists no images, so AP is undefined; check the file"),
    "no-annotations": (
        "warning",
        "the ground truth holds no annotation, so AP is undefined for every category; check the file",
    ),
    "image-id-invalid": (
        "error",
        "an image's id is neither a whole number nor text: annotations cannot be paired with it; renumber",
    ),
    "image-id-text": (
        "note",
        "image ids are text: pycocotools takes them in part only; ovrcoat renumbers them before scoring",
    ),
    "image-listed-twice": (
        "error",
        "an image id stands twice in the list of images: its annotations are counted for one or for both; "
        "remove the repeat",
    ),
    "image-size-missing": (
        "error",
        "an image lacks width or height: masks cannot be checked, nor polygons drawn; add both, in pixels",
    ),
    "category-invalid": (
        "error",
        "a category lacks a whole number as id: nothing can be counted for it; number the categories",
    ),
    "category-listed-twice": (
        "error",
        "a category id stands twice in the list of categories: which name it has is left open, and it is "
        "evaluated twice; remove the repeat",
    ),
    "annotation-id-invalid": (
        "error",
        "an annotation lacks a whole number as id: evaluation matches by it; number them from 1",
    ),
    "annotation-id-zero": (
        "warning",
        "an annotation has the id 0: COCO's evaluation takes a match with it for none, so a perfect "
        "detection becomes a false positive; number them from 1 (`renumbered` holds what comes out then)",
    ),
    "annotation-id-twice": (
        "error",
        "an annotation id stands twice: pycocotools replaces the first annotation by the second without a "
        "word, which changes AP; number annotations from 1",
    ),
    "annotation-image-unknown": (
        "error",
        "an annotation belongs to an image that is not listed: it is never counted; add the image "
        "or remove it",
    ),
    "annotation-category-unknown": (
        "error",
        "an annotation has a category that is not listed: it is never counted; add the "
        "category or correct it",
    ),
    "iscrowd-missing": (
        "error",
        "an annotation lacks iscrowd: whether it must be found or forgives detections is left open, and "
        "pycocotools stops; add 0 or 1",
    ),
    "area-missing": (
        "error",
        "an annotation lacks its area: the size classes small, medium, large go by it; add the mask's pixels",
    ),
    "area-differs": (
        "warning",
        "an annotation's area is not its mask's: the size classes small, medium, large (32², 96² pixels) go "
        "by the written area, so AP by size is not what it seems; write the mask's pixels",
    ),
    "mask-missing": (
        "error",
        "an annotation has no mask (segmentation): mask AP cannot be computed from boxes; add it",
    ),
    "mask-damaged": (
        "error",
        "an annotation's mask cannot be decoded: pycocotools reads something else or crashes; write it again",
    ),
    "mask-size-differs": (
        "error",
        "an annotation's mask has another size than its image: its overlap with any detection is undefined; "
        "write it at the image's size, [height, width]",
    ),
    "polygon-too-few-points": (
        "error",
        "an annotation has a polygon with fewer than 3 points: it has no inside; pycocotools takes one of 2 "
        "points for a box; remove it",
    ),
    "mask-empty": (
        "warning",
        "an annotation's mask covers no pixel: nothing can ever match it, so it lowers recall; remove it",
    ),
    "results-malformed": (
        "error",
        "an entry of the results is no object; a list of {image_id, category_id, segmentation, score} was "
        "expected; write the file again",
    ),
    "results-empty": (
        "warning",
        "the results are empty: AP is 0 for every category with annotations (pycocotools stops, published "
        "code writes NaN); check the run that wrote them",
    ),
    "result-image-unknown": (
        "error",
        "a result belongs to an image that the ground truth does not list: the files are not of one data set "
        "or split; score against the right file",
    ),
    "image-id-type-differs": (
        "error",
        'image ids are numbers in one file and text in the other (1 and "1"): no result would be paired; '
        "write the ids of the ground truth",
    ),
    "result-category-unknown": (
        "error",
        "a result has a category that the ground truth does not list: pycocotools drops it without a word. "
        "Most often ids are counted from 0 or 1 instead of being the data set's own; map them",
    ),
    "result-mask-missing": (
        "error",
        "a result has no mask (segmentation): pycocotools would score its box as a mask; add it",
    ),
    "result-mask-damaged": (
        "error",
        "a result's mask cannot be decoded: pycocotools reads something else or crashes; write it again",
    ),
    "result-mask-size-differs": (
        "error",
        "a result's mask has another size than its image: its overlap is undefined; resize masks to the "
        "image's size before encoding, [height, width]",
    ),
    "result-polygon-too-few-points": (
        "error",
        "a result has a polygon with fewer than 3 points: it has no inside; write run lengths",
    ),
    "result-mask-empty": (
        "note",
        "a result's mask covers no pixel: it can match nothing and counts as a false positive; leave it out",
    ),
    "score-missing": (
        "error",
        "a result lacks its score: AP is an average over the ranking by score; write it",
    ),
    "score-invalid": (
        "error",
        "a score is no number (NaN, infinite or text): the ranking, and so AP, is arbitrary; correct the "
        "model's output",
    ),
    "score-out-of-range": (
        "warning",
        "a score lies outside 0..1: AP goes by the order only, but logits or percent hint at a mistake",
    ),
    "result-boxes": (
        "warning",
        "the results hold boxes: pycocotools then takes each detection's size class from the box, so AP by "
        "size changes; leave bbox out (ovrcoat ignores it, as published code does)",
    ),
    "result-twice": (
        "warning",
        "a result stands twice (same image, category and mask): the second one is a false positive and "
        "lowers AP; was a file joined to itself?",
    ),
    "more-than-100-detections": (
        "note",
        "an image has more than 100 detections of one category: only the 100 with the highest scores are "
        "looked at",
    ),
}


def check_instances(truth: dict[str, Any], results: list[Any] | None) -> IssueList:
    """All faults of a ground truth and, if given, of the results for it; both as `json.load` gives them."""
    check = _InstanceCheck()
    check.truth(truth)
    if results is not None:
        check.results(results)
    return check.issues


@dataclass(frozen=True, slots=True)
class _Source:
    """How findings call a mask of the ground truth or of the results."""

    prefix: str
    place: str


class _InstanceCheck:
    """Goes through the files once, in their order."""

    def __init__(self) -> None:
        self.issues = IssueList()
        self._sizes: dict[int | str, tuple[int, int] | None] = {}  # image id → (height, width)
        self._categories: set[int] = set()
        self._annotation_ids: set[int] = set()

    def truth(self, truth: dict[str, Any]) -> None:
        """The ground truth; also learns what results are checked against."""
        for image in self._entries(truth, "images"):
            self._image(image)
        if not self._sizes:
            self._add("no-images", "images: 0")
        for category in self._entries(truth, "categories"):
            self._category(category)
        annotations = self._entries(truth, "annotations")
        if not annotations:
            self._add("no-annotations", "annotations: 0")
        for index, annotation in enumerate(annotations):
            self._annotation(annotation, place=f"annotation {annotation.get('id', f'no. {index + 1}')!r}")

    def results(self, results: list[Any]) -> None:
        """The results; the ground truth must have been gone through."""
        if not results:
            self._add("results-empty", "results: 0")
        per_class: Counter[tuple[Any, Any]] = Counter()
        seen: set[int] = set()  # hashes: the masks of a long file would not fit twice
        for index, result in enumerate(results):
            place = f"result no. {index + 1}"
            if not isinstance(result, dict):
                self._add("results-malformed", f"{place}: {type(result).__name__}")
                continue
            image_id, category_id = _id(result.get("image_id")), _id(result.get("category_id"))
            self._result(result, image_id, category_id, place=place)
            per_class[image_id, category_id] += 1
            mask = hash((image_id, category_id, str(result.get("segmentation"))))
            if mask in seen:
                self._add("result-twice", f"{place}: image {image_id!r}, category {category_id!r}")
            seen.add(mask)
        for (image_id, category_id), count in per_class.items():
            if count > MOST_DETECTIONS:
                self._add(
                    "more-than-100-detections", f"image {image_id!r}, category {category_id!r}: {count}"
                )

    def _add(self, code: str, example: str) -> None:
        severity, message = FAULTS[code]
        self.issues.add(code, message, example=example, severity=severity)

    def _entries(self, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
        entries = document.get(key)
        if not isinstance(entries, list):
            self._add("instances-malformed", f"{key}: {type(entries).__name__}")
            return []
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self._add("instances-malformed", f"{key} no. {index + 1}: {type(entry).__name__}")
        return [entry for entry in entries if isinstance(entry, dict)]

    def _image(self, image: dict[str, Any]) -> None:
        image_id = _id(image.get("id"))
        if image_id is None:
            self._add("image-id-invalid", repr(image.get("id")))
            return
        if isinstance(image_id, str):
            self._add("image-id-text", repr(image_id))
        if image_id in self._sizes:
            self._add("image-listed-twice", repr(image_id))
        height, width = image.get("height"), image.get("width")
        known = type(height) is int and type(width) is int and height > 0 and width > 0
        if not known:
            self._add("image-size-missing", f"image {image_id!r}: width {width!r}, height {height!r}")
        self._sizes[image_id] = (height, width) if known else None  # type: ignore[assignment]

    def _category(self, category: dict[str, Any]) -> None:
        category_id = category.get("id")
        if type(category_id) is not int:
            self._add("category-invalid", f"{category.get('name')!r}: id {category_id!r}")
        elif category_id in self._categories:
            self._add("category-listed-twice", f"{category_id}: {category.get('name')!r}")
        else:
            self._categories.add(category_id)

    def _annotation(self, annotation: dict[str, Any], *, place: str) -> None:
        self._annotation_id(annotation.get("id"), place=place)
        image_id, category_id = _id(annotation.get("image_id")), _id(annotation.get("category_id"))
        if image_id not in self._sizes:
            self._add("annotation-image-unknown", f"{place}: image {annotation.get('image_id')!r}")
        if category_id not in self._categories:
            self._add("annotation-category-unknown", f"{place}: category {annotation.get('category_id')!r}")
        if annotation.get("iscrowd") not in (0, 1):
            self._add("iscrowd-missing", f"{place}: iscrowd {annotation.get('iscrowd')!r}")
        size = self._sizes.get(image_id) if image_id is not None else None
        mask = self._mask(annotation, size=size, source=_Source("", place))
        self._area(annotation.get("area"), mask, place=place)

    def _annotation_id(self, annotation_id: object, *, place: str) -> None:
        if type(annotation_id) is not int:
            self._add("annotation-id-invalid", f"{place}: id {annotation_id!r}")
            return
        if annotation_id == 0:
            self._add("annotation-id-zero", place)
        if annotation_id in self._annotation_ids:
            self._add("annotation-id-twice", place)
        self._annotation_ids.add(annotation_id)

    def _area(self, area: object, mask: MaskArea | None, *, place: str) -> None:
        if not is_number(area) or area < 0:  # type: ignore[operator]
            self._add("area-missing", f"{place}: area {area!r}")
        elif mask is not None and abs(area - mask.pixels) > mask.slack + 0.5:  # type: ignore[operator]
            self._add("area-differs", f"{place}: area {area!r}, mask {mask.pixels:.0f}")

    def _mask(
        self, entry: dict[str, Any], *, size: tuple[int, int] | None, source: _Source
    ) -> MaskArea | None:
        """The mask's area; None if there is none, which is told."""
        mask = measure_mask(entry.get("segmentation"), size=size)
        if isinstance(mask, MaskFault):
            kind = "polygon-too-few-points" if mask.kind == "too-few-points" else f"mask-{mask.kind}"
            self._add(f"{source.prefix}{kind}", f"{source.place}: {mask.detail}")
            return None
        if mask.pixels == 0:
            self._add(f"{source.prefix}mask-empty", source.place)
        return mask

    def _result(
        self, result: dict[str, Any], image_id: int | str | None, category_id: int | str | None, *, place: str
    ) -> None:
        size = None
        if image_id is not None and image_id in self._sizes:
            size = self._sizes[image_id]
        elif image_id is not None and _other_type(image_id) in self._sizes:
            self._add("image-id-type-differs", f"{place}: image {image_id!r}")
        else:
            self._add("result-image-unknown", f"{place}: image {result.get('image_id')!r}")
        if category_id not in self._categories:
            self._add("result-category-unknown", f"{place}: category {result.get('category_id')!r}")
        self._score(result, place=place)
        if result.get("bbox"):
            self._add("result-boxes", place)
        self._mask(result, size=size, source=_Source("result-", place))

    def _score(self, result: dict[str, Any], *, place: str) -> None:
        score = result.get("score")
        if score is None:
            self._add("score-missing", place)
        elif not is_number(score):
            self._add("score-invalid", f"{place}: score {score!r}")
        elif not 0 <= score <= 1:
            self._add("score-out-of-range", f"{place}: score {score!r}")


def _id(value: object) -> int | str | None:
    """An id as it may be; None for anything else, also for True and 1.0."""
    return value if type(value) in (int, str) else None  # type: ignore[return-value]


def _other_type(image_id: int | str) -> int | str | None:
    """1 for "1", "1" for 1; None for text that is no number."""
    if isinstance(image_id, int):
        return str(image_id)
    return int(image_id) if image_id.isascii() and image_id.isdigit() and len(image_id) < 20 else None
