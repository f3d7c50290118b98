"""Catalog of the issues that COCO instances and results can have: code, severity and message."""

from ovrcoat.issues import IssueCatalog

# Each message says what is wrong, why it matters for mask AP, and what to do.
INSTANCE_ISSUES: IssueCatalog = {
    "instances-malformed": (
        "error",
        "the ground truth lacks one of the lists images, annotations and categories, or an entry is not an "
        "object: it is not in COCO's instances format; convert it",
    ),
    "no-images": ("error", "the ground truth lists no images, so AP is undefined; check the file"),
    "no-annotations": (
        "warning",
        "the ground truth has no annotations, so AP is undefined for every category; check the file",
    ),
    "image-id-invalid": (
        "error",
        "an image's id is neither an integer nor text, so annotations cannot refer to it; renumber",
    ),
    "image-id-text": (
        "note",
        "image ids are text, which pycocotools supports only in part; ovrcoat renumbers them before scoring",
    ),
    "image-listed-twice": (
        "error",
        "an image id occurs twice in the list of images, so its annotations may count for one image or both; "
        "remove the duplicate",
    ),
    "image-size-missing": (
        "error",
        "an image lacks width or height, so masks cannot be checked and polygons cannot be drawn; add both, "
        "in pixels",
    ),
    "image-too-large": (
        "error",
        "an image has 2³² pixels or more, which pycocotools cannot count; correct its width and height",
    ),
    "category-invalid": (
        "error",
        "a category lacks an integer id, so nothing can be counted for it, or its name is not text; give "
        "each category an integer id and a name",
    ),
    "category-listed-twice": (
        "error",
        "a category id occurs twice in the list of categories: its name is ambiguous and it is evaluated "
        "twice; remove the duplicate",
    ),
    "annotation-id-invalid": (
        "error",
        "an annotation lacks an integer id, which the evaluation matches by; number annotations from 1",
    ),
    "annotation-id-zero": (
        "warning",
        "an annotation has the id 0: COCO's evaluation treats a match with it as no match, so a perfect "
        "detection becomes a false positive; number annotations from 1 (`renumbered` holds the result)",
    ),
    "annotation-id-twice": (
        "error",
        "an annotation id occurs twice: pycocotools silently replaces the first annotation by the second, "
        "which changes AP; number annotations from 1",
    ),
    "annotation-image-unknown": (
        "error",
        "an annotation belongs to an image that is not listed, so it is never counted; add the image or "
        "remove the annotation",
    ),
    "annotation-category-unknown": (
        "error",
        "an annotation has a category that is not listed, so it is never counted; add the category or "
        "correct the annotation",
    ),
    "iscrowd-missing": (
        "error",
        "an annotation lacks iscrowd: it is unclear whether it must be found or excuses detections, and "
        "pycocotools stops; add 0 or 1",
    ),
    "area-missing": (
        "error",
        "an annotation lacks its area, which decides its size class (small, medium, large); add the number "
        "of mask pixels",
    ),
    "area-differs": (
        "warning",
        "an annotation's area differs from its mask: the size classes small, medium and large (32², 96² "
        "pixels) use the stated area, so AP by size is misleading; write the number of mask pixels",
    ),
    "mask-missing": (
        "error",
        "an annotation has no mask (segmentation), and mask AP cannot be computed from boxes; add it",
    ),
    "mask-damaged": (
        "error",
        "an annotation's mask cannot be decoded: pycocotools reads a wrong mask or crashes; write it again",
    ),
    "mask-size-differs": (
        "error",
        "an annotation's mask has another size than its image, so its overlap with detections is undefined; "
        "write it at the image's size, [height, width]",
    ),
    "polygon-too-few-points": (
        "error",
        "an annotation has a polygon with fewer than 3 points, which encloses nothing; pycocotools takes one "
        "of 2 points for a box; remove it",
    ),
    "mask-empty": (
        "warning",
        "an annotation's mask covers no pixel: no detection can match it, so it lowers recall; remove it",
    ),
    "results-malformed": (
        "error",
        "an entry of the results is not an object; expected a list of {image_id, category_id, segmentation, "
        "score}; write the file again",
    ),
    "results-empty": (
        "warning",
        "the results are empty, so AP is 0 for every category with annotations (pycocotools stops, published "
        "code writes NaN); check the run that wrote them",
    ),
    "result-image-unknown": (
        "error",
        "a result belongs to an image that the ground truth does not list: the files are from different "
        "datasets or splits; score against the right file",
    ),
    "image-id-type-differs": (
        "error",
        'image ids are numbers in one file and text in the other (1 and "1"), so no result would match; use '
        "the ids of the ground truth",
    ),
    "result-category-unknown": (
        "error",
        "a result has a category that the ground truth does not list: pycocotools silently drops it. Usually "
        "ids were counted from 0 or 1 instead of using the dataset's own ids; map them",
    ),
    "result-mask-missing": (
        "error",
        "a result has no mask (segmentation): pycocotools would score its box as a mask; add it",
    ),
    "result-mask-damaged": (
        "error",
        "a result's mask cannot be decoded: pycocotools reads a wrong mask or crashes; write it again",
    ),
    "result-mask-size-differs": (
        "error",
        "a result's mask has another size than its image, so its overlap is undefined; resize masks to the "
        "image's size before encoding, [height, width]",
    ),
    "result-polygon-too-few-points": (
        "error",
        "a result has a polygon with fewer than 3 points, which encloses nothing; write run lengths",
    ),
    "result-mask-empty": (
        "note",
        "a result's mask covers no pixel: it matches nothing and counts as a false positive; leave it out",
    ),
    "score-missing": (
        "error",
        "a result lacks its score, and AP is an average over the ranking by score; add it",
    ),
    "score-invalid": (
        "error",
        "a score is not a number (NaN, infinite or text), so the ranking and AP are arbitrary; correct the "
        "model's output",
    ),
    "score-out-of-range": (
        "warning",
        "a score is outside 0..1: AP depends only on the order, but logits or percentages suggest a mistake",
    ),
    "result-boxes": (
        "warning",
        "the results contain boxes: pycocotools then takes each detection's size class from its box, which "
        "changes AP by size; omit bbox (ovrcoat ignores it, as published code does)",
    ),
    "result-twice": (
        "warning",
        "a result occurs twice (same image, category and mask): the second one is a false positive and "
        "lowers AP; check whether a file was appended to itself",
    ),
    "more-than-100-detections": (
        "note",
        "an image has more than 100 detections of one category; only the 100 with the highest scores are "
        "evaluated",
    ),
}
