"""Check files for mask AP: ground truth in COCO's instances format, and results.

Runs before any score is computed. Needs neither torch nor pycocotools. pycocotools silently accepts most of
these issues, or stops with a bare KeyError.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ovrcoat.evaluation.checks.instance_issues import INSTANCE_ISSUES
from ovrcoat.evaluation.checks.rle import MAX_MASK_PIXELS, InvalidMask, MaskArea, is_number, measure_mask
from ovrcoat.issues import IssueList
from ovrcoat.system.json_values import as_integer

MAX_MALFORMED = 1_000
MAX_DETECTIONS = 100  # per image and category: the last of COCO's maxDets 1, 10, 100


def check_instances(truth: dict[str, Any], results: list[Any] | None) -> IssueList:
    """Check a ground truth and, unless None, the results for it; both as parsed from JSON."""
    checker = _InstanceChecker()
    checker.check_truth(truth)
    if results is not None:
        checker.check_results(results)
    return checker.issues


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a mask comes from.

    Attributes:
        prefix: Start of its issue codes: "" for ground truth, "result-" for results.
        entry: Name of the entry in examples.
    """

    prefix: str
    entry: str


class _InstanceChecker:
    """Checks the files in one pass; `check_truth` must come before `check_results`."""

    def __init__(self) -> None:
        self.issues = IssueList(INSTANCE_ISSUES)
        self._sizes: dict[int | str, tuple[int, int] | None] = {}  # image id → (height, width)
        self._categories: set[int] = set()
        self._annotation_ids: set[int] = set()

    def check_truth(self, truth: dict[str, Any]) -> None:
        """Check the ground truth and remember its ids and sizes for the results."""
        for image in self._entries(truth, "images"):
            self._check_image(image)
        if not self._sizes:
            self.issues.report("no-images", "images: 0")
        for category in self._entries(truth, "categories"):
            self._check_category(category)
        annotations = self._entries(truth, "annotations")
        if not annotations:
            self.issues.report("no-annotations", "annotations: 0")
        for index, annotation in enumerate(annotations):
            self._check_annotation(
                annotation, entry=f"annotation {annotation.get('id', f'no. {index + 1}')!r}"
            )

    def check_results(self, results: list[Any]) -> None:
        """Check the results against the ground truth."""
        if not results:
            self.issues.report("results-empty", "results: 0")
        per_class: Counter[tuple[Any, Any]] = Counter()
        seen: set[int] = set()  # hashes, because a copy of all masks could exhaust memory
        malformed = 0
        for index, result in enumerate(results):
            entry = f"result no. {index + 1}"
            if not isinstance(result, dict):
                self.issues.report("results-malformed", f"{entry}: {type(result).__name__}")
                malformed += 1
                if malformed == MAX_MALFORMED:  # this is another kind of file
                    break
                continue
            image_id, category_id = _id(result.get("image_id")), _id(result.get("category_id"))
            self._check_result(result, image_id, category_id, entry=entry)
            per_class[image_id, category_id] += 1
            mask = hash((image_id, category_id, str(result.get("segmentation"))))
            if mask in seen:
                self.issues.report("result-twice", f"{entry}: image {image_id!r}, category {category_id!r}")
            seen.add(mask)
        for (image_id, category_id), count in per_class.items():
            if count > MAX_DETECTIONS:
                self.issues.report(
                    "more-than-100-detections", f"image {image_id!r}, category {category_id!r}: {count}"
                )

    def _entries(self, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
        """Return the objects of a list; report everything else."""
        entries = document.get(key)
        if not isinstance(entries, list):
            self.issues.report("instances-malformed", f"{key}: {type(entries).__name__}")
            return []
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.issues.report("instances-malformed", f"{key} no. {index + 1}: {type(entry).__name__}")
        return [entry for entry in entries if isinstance(entry, dict)]

    def _check_image(self, image: dict[str, Any]) -> None:
        image_id = _id(image.get("id"))
        if image_id is None:
            self.issues.report("image-id-invalid", repr(image.get("id")))
            return
        if isinstance(image_id, str):
            self.issues.report("image-id-text", repr(image_id))
        if image_id in self._sizes:
            self.issues.report("image-listed-twice", repr(image_id))
        height, width = as_integer(image.get("height")), as_integer(image.get("width"))
        known = type(height) is int and type(width) is int and height > 0 and width > 0
        if not known:
            self.issues.report(
                "image-size-missing", f"image {image_id!r}: width {width!r}, height {height!r}"
            )
        elif height * width > MAX_MASK_PIXELS:  # type: ignore[operator]
            known = False
            self.issues.report("image-too-large", f"image {image_id!r}: {width} × {height}")
        self._sizes[image_id] = (height, width) if known else None  # type: ignore[assignment]

    def _check_category(self, category: dict[str, Any]) -> None:
        category_id = as_integer(category.get("id"))
        if type(category_id) is not int:
            self.issues.report("category-invalid", f"{category.get('name')!r}: id {category_id!r}")
        elif not isinstance(category.get("name"), str | None):
            self.issues.report("category-invalid", f"{category_id}: name {category['name']!r}")
        elif category_id in self._categories:
            self.issues.report("category-listed-twice", f"{category_id}: {category.get('name')!r}")
        else:
            self._categories.add(category_id)

    def _check_annotation(self, annotation: dict[str, Any], *, entry: str) -> None:
        self._check_annotation_id(annotation.get("id"), entry=entry)
        image_id, category_id = _id(annotation.get("image_id")), _id(annotation.get("category_id"))
        if image_id not in self._sizes:
            self.issues.report("annotation-image-unknown", f"{entry}: image {annotation.get('image_id')!r}")
        if category_id not in self._categories:
            self.issues.report(
                "annotation-category-unknown", f"{entry}: category {annotation.get('category_id')!r}"
            )
        if annotation.get("iscrowd") not in (0, 1):
            self.issues.report("iscrowd-missing", f"{entry}: iscrowd {annotation.get('iscrowd')!r}")
        size = self._sizes.get(image_id) if image_id is not None else None
        mask = self._check_mask(annotation, size=size, origin=_Origin("", entry))
        self._check_area(annotation.get("area"), mask, entry=entry)

    def _check_annotation_id(self, value: object, *, entry: str) -> None:
        annotation_id = as_integer(value)
        if type(annotation_id) is not int:
            self.issues.report("annotation-id-invalid", f"{entry}: id {annotation_id!r}")
            return
        if annotation_id == 0:
            self.issues.report("annotation-id-zero", entry)
        if annotation_id in self._annotation_ids:
            self.issues.report("annotation-id-twice", entry)
        self._annotation_ids.add(annotation_id)

    def _check_area(self, area: object, mask: MaskArea | None, *, entry: str) -> None:
        if not is_number(area) or area < 0:  # type: ignore[operator]
            self.issues.report("area-missing", f"{entry}: area {area!r}")
        elif mask is not None and abs(area - mask.pixels) > mask.tolerance + 0.5:  # type: ignore[operator]
            self.issues.report("area-differs", f"{entry}: area {area!r}, mask {mask.pixels:.0f}")

    def _check_mask(
        self, entry: dict[str, Any], *, size: tuple[int, int] | None, origin: _Origin
    ) -> MaskArea | None:
        """Return the mask's area; None if it is missing or invalid, which is reported."""
        mask = measure_mask(entry.get("segmentation"), size=size)
        if isinstance(mask, InvalidMask):
            code = "polygon-too-few-points" if mask.reason == "too-few-points" else f"mask-{mask.reason}"
            self.issues.report(f"{origin.prefix}{code}", f"{origin.entry}: {mask.detail}")
            return None
        if mask.pixels == 0:
            self.issues.report(f"{origin.prefix}mask-empty", origin.entry)
        return mask

    def _check_result(
        self, result: dict[str, Any], image_id: int | str | None, category_id: int | str | None, *, entry: str
    ) -> None:
        size = None
        if image_id is not None and image_id in self._sizes:
            size = self._sizes[image_id]
        elif image_id is not None and _other_type(image_id) in self._sizes:
            self.issues.report("image-id-type-differs", f"{entry}: image {image_id!r}")
        else:
            self.issues.report("result-image-unknown", f"{entry}: image {result.get('image_id')!r}")
        if category_id not in self._categories:
            self.issues.report("result-category-unknown", f"{entry}: category {result.get('category_id')!r}")
        self._check_score(result, entry=entry)
        if result.get("bbox"):
            self.issues.report("result-boxes", entry)
        self._check_mask(result, size=size, origin=_Origin("result-", entry))

    def _check_score(self, result: dict[str, Any], *, entry: str) -> None:
        score = result.get("score")
        if score is None:
            self.issues.report("score-missing", entry)
        elif not is_number(score):
            self.issues.report("score-invalid", f"{entry}: score {score!r}")
        elif not 0 <= score <= 1:
            self.issues.report("score-out-of-range", f"{entry}: score {score!r}")


def _id(value: object) -> int | str | None:
    """Return a valid id (integer or text); None for anything else, including True."""
    value = as_integer(value)
    return value if type(value) in (int, str) else None  # type: ignore[return-value]


def _other_type(image_id: int | str) -> int | str | None:
    """Convert 1 to "1" and "1" to 1; None for text that is not a number."""
    if isinstance(image_id, int):
        return str(image_id)
    return int(image_id) if image_id.isascii() and image_id.isdigit() and len(image_id) < 20 else None
