"""Catalog of the issues that panoptic ground truth and predictions can have: code, severity and message."""

from ovrcoat.formats.panoptic_png import MAX_SEGMENT_ID
from ovrcoat.issues import IssueCatalog

# Each message says what is wrong, why it matters, and what to do.
PANOPTIC_ISSUES: IssueCatalog = {
    "json-unreadable": ("error", "a JSON file cannot be read; check the path, or copy or write it again"),
    "json-not-panoptic": (
        "error",
        "a JSON file is not in COCO's panoptic format: expected an object with a list of annotations, "
        "and for the ground truth a list of categories; convert it",
    ),
    "folder-missing": ("error", "the folder of PNG files does not exist; check the path"),
    "no-truth": (
        "error",
        "the ground truth has no annotations, so there is nothing to evaluate; check the file",
    ),
    "no-predictions": ("error", "the prediction has no annotations at all; check that it was written"),
    "category-invalid": (
        "error",
        "a category of the ground truth is not an object or its id is not an integer, so nothing can be "
        "counted for it; give each category an integer id",
    ),
    "category-twice": (
        "error",
        "a category id occurs twice in the list of the ground truth; remove the duplicate",
    ),
    "isthing-missing": (
        "error",
        "a category lacks isthing (0 or 1), so Things and Stuff cannot be reported; add it to the ground "
        "truth",
    ),
    "category-name-missing": ("note", "a category has no name; its id is shown instead"),
    "annotation-invalid": (
        "error",
        "an annotation is not an object, or lacks image_id (integer or text), file_name (text) or "
        "segments_info (list); complete it",
    ),
    "file-outside": (
        "error",
        "a file_name leads out of the folder of PNG files; use names relative to the folder",
    ),
    "truth-image-twice": (
        "error",
        "an image has two annotations in the ground truth and would count twice; remove one",
    ),
    "prediction-image-twice": (
        "error",
        "an image has two predictions, so it is unclear which one to score; remove one",
    ),
    "file-twice": (
        "warning",
        "two images of one JSON file share a PNG file; check that this is intended",
    ),
    "segment-invalid": (
        "error",
        "a segment is not an object, or its id is missing or not an integer; write ids as integers",
    ),
    "segments-too-many": (
        "error",
        "an image has more than 100,000 segments, as no labels of images have; correct the list",
    ),
    "segment-id-zero": ("error", "a segment has the id 0, which means void; number segments from 1"),
    "segment-id-too-large": (
        "error",
        f"a segment id is negative or above {MAX_SEGMENT_ID} (24 bits) and does not fit into a PNG; renumber",
    ),
    "segment-id-twice": (
        "error",
        "a segment id occurs twice in one image; merge the two segments or renumber",
    ),
    "category-id-invalid": (
        "error",
        "a segment's category_id is missing or not an integer (text never equals a number); write integers",
    ),
    "truth-category-unknown": (
        "error",
        "a ground-truth segment has a category that is not in the list of categories, so it would be left "
        "out of every mean; complete the list",
    ),
    "prediction-category-unknown": (
        "error",
        "a predicted segment has a category that is not in the list of the ground truth; predict with the "
        "ids of that list",
    ),
    "iscrowd-missing": ("note", "a ground-truth segment lacks iscrowd; 0 is assumed"),
    "iscrowd-invalid": ("error", "iscrowd of a ground-truth segment is neither 0 nor 1; correct it"),
    "area-missing": (
        "warning",
        "a ground-truth segment has no integer area; its pixels are counted instead",
    ),
    "crowd-twice": (
        "note",
        "an image has two crowds of one category; only the last one excuses predictions, as in published "
        "results",
    ),
    "stuff-in-pieces": (
        "note",
        "a prediction splits a stuff category of one image into several segments; each is matched "
        "separately, as in published results; usually such a category is one segment",
    ),
    "prediction-missing": (
        "error",
        "an image has no prediction; predict it (if nothing was found: empty segments_info and a black PNG)",
    ),
    "image-id-type": (
        "error",
        "image ids are text in one file and numbers in the other, so they do not match; use one type",
    ),
    "prediction-extra": (
        "note",
        "a prediction belongs to an image that is not in the ground truth; it is ignored",
    ),
    "image-without-annotation": (
        "note",
        "an image is listed in the ground truth but has no annotation there; it is not evaluated",
    ),
    "png-missing": ("error", "a PNG file is missing; copy it to its folder or correct file_name"),
    "png-damaged": ("error", "a PNG file is damaged, truncated or not a PNG; copy or write it again"),
    "png-too-large": ("error", "a PNG file exceeds the size limit; split the image"),
    "png-not-rgb": (
        "error",
        "a PNG file is not 8-bit RGB, which stores a segment's id as R + 256 G + 65536 B; write it in that "
        "format",
    ),
    "png-with-alpha": ("warning", "a PNG file has an alpha channel; it is ignored, as in published results"),
    "size-mismatch": (
        "error",
        "prediction and ground truth of an image differ in size; predict at the size of the labels",
    ),
    "truth-size-differs": (
        "warning",
        "the ground-truth PNG of an image has another size than the JSON states; the PNG is used",
    ),
    "truth-segment-without-pixels": (
        "warning",
        "a ground-truth segment has no pixel in its PNG; unless it is a crowd it counts as missed (FN), as "
        "in published results (ADE20K has segments that are fully covered by others)",
    ),
    "prediction-segment-without-pixels": (
        "error",
        "the JSON lists a predicted segment that has no pixel in the PNG; remove the segment or draw it",
    ),
    "truth-pixels-without-segment": (
        "warning",
        "pixels of a ground-truth PNG hold an id that the JSON does not list: they are neither a segment nor "
        "void, and count against predictions; list the segment or set the pixels to 0",
    ),
    "prediction-pixels-without-segment": (
        "error",
        "pixels of a predicted PNG hold an id that the JSON does not list; list it (only 0, which is void, "
        "needs no entry)",
    ),
    "areas-differ": (
        "warning",
        "the area of a ground-truth segment in the JSON is not its number of pixels, so IoU depends on which "
        "is used; published results use the JSON (--areas json, the default), --areas png counts the pixels",
    ),
    "areas-other-choice": ("note", "the result with the other choice of areas"),
    "area-impossible": (
        "error",
        "the area of a ground-truth segment in the JSON is so small that an IoU would exceed 1; correct the "
        "JSON, or count the pixels with --areas png",
    ),
    "seen-id-unknown": (
        "warning",
        "a seen category id is not a category of the ground truth; it is ignored",
    ),
    "seen-by-preset": (
        "note",
        "the categories are those of a published list, whose synonyms decide which categories are seen",
    ),
    "nothing-counted": ("warning", "no segment counts in any category, so no score is defined"),
}
