"""Every fault of panoptic files that is known, and how it is told: codes for programs, words for people."""

from ovrcoat.errors import DatasetError
from ovrcoat.issues import IssueList, Severity

ID_LIMIT = 1 << 24  # three bytes of a pixel hold an id

Fault = tuple[str, str]  # code, example

# code → level; what it is, why it matters, what to do
FAULTS: dict[str, tuple[Severity, str]] = {
    "json-unreadable": ("error", "a JSON file cannot be read; check the path, or copy or write it again"),
    "json-not-panoptic": (
        "error",
        "a JSON file is not in COCO's panoptic format: expected an object with a list of annotations, "
        "and for the truth of categories; convert it",
    ),
    "folder-missing": ("error", "there is no such folder of PNG files; check the path"),
    "no-truth": ("error", "the truth holds no annotations, so there is nothing to evaluate; check the file"),
    "no-predictions": ("error", "the prediction holds no annotations at all; check that it was written"),
    "category-invalid": (
        "error",
        "a category of the truth is no object or its id no whole number: nothing can be counted for it; "
        "number the categories",
    ),
    "category-twice": ("error", "a category id stands twice in the list of the truth; remove the repeat"),
    "isthing-missing": (
        "error",
        "a category lacks isthing (0 or 1), so Things and Stuff cannot be formed; add it in the truth",
    ),
    "category-name-missing": ("note", "a category has no name; its id is shown instead"),
    "annotation-invalid": (
        "error",
        "an annotation is no object, or lacks image_id (whole number or text), file_name (text) or "
        "segments_info (list); complete it",
    ),
    "file-outside": (
        "error",
        "a file_name leads out of the folder of PNG files; give names relative to the folder",
    ),
    "truth-image-twice": (
        "error",
        "an image has two annotations in the truth and would count twice; remove one",
    ),
    "prediction-image-twice": (
        "error",
        "an image has two predictions, and which one is meant is left open; remove one",
    ),
    "file-twice": ("warning", "two images of one JSON file share a PNG file; check that this is meant"),
    "segment-invalid": (
        "error",
        "a segment is no object, or its id is missing or no whole number; write ids as numbers",
    ),
    "segment-id-zero": ("error", "a segment has the id 0, which means void; number segments from 1"),
    "segment-id-too-large": (
        "error",
        f"a segment id is negative or above {ID_LIMIT - 1} (24 bits), which no PNG can hold; renumber",
    ),
    "segment-id-twice": ("error", "a segment id stands twice in one image; merge the two or renumber"),
    "category-id-invalid": (
        "error",
        "a segment's category_id is missing or no whole number (text does not match a number); write numbers",
    ),
    "truth-category-unknown": (
        "error",
        "a true segment has a category that the truth's own list lacks, so it would be left out of every "
        "mean; complete the list",
    ),
    "prediction-category-unknown": (
        "error",
        "a predicted segment has a category that the truth's list lacks; predict with the ids of that list",
    ),
    "iscrowd-missing": ("note", "a true segment lacks iscrowd; it is taken as 0"),
    "iscrowd-invalid": ("error", "iscrowd of a true segment is neither 0 nor 1; correct it"),
    "area-missing": (
        "warning",
        "a true segment has no whole number as area; it is counted from the pixels",
    ),
    "crowd-twice": (
        "note",
        "an image has two crowds of one category; only the last excuses predictions, as in published results",
    ),
    "stuff-in-pieces": (
        "note",
        "a prediction splits a stuff category of one image into several segments; they are matched one by "
        "one, as in published results; usually such a category is one segment",
    ),
    "prediction-missing": (
        "error",
        "an image has no prediction; predict it (empty segments_info and a black PNG if nothing was found)",
    ),
    "image-id-type": (
        "error",
        "image ids are text in one file and numbers in the other, so they do not match; write one kind",
    ),
    "prediction-extra": ("note", "a prediction is for an image that the truth does not have; it is ignored"),
    "image-unlabelled": (
        "note",
        "an image is listed in the truth but has no annotation there; it is not evaluated",
    ),
    "png-missing": ("error", "a PNG file is missing; copy it to its folder or correct file_name"),
    "png-damaged": ("error", "a PNG file is damaged, cut off or no PNG; copy or write it again"),
    "png-too-large": ("error", "a PNG file has more pixels than are decoded; cut the picture up"),
    "png-not-rgb": (
        "error",
        "a PNG file is not 8-bit RGB, which holds a segment's id as R + 256 G + 65536 B; write it "
        "in that form",
    ),
    "png-with-alpha": ("warning", "a PNG file has an alpha channel; it is ignored, as in published results"),
    "size-mismatch": (
        "error",
        "prediction and truth of an image differ in size; predict at the size of the labels",
    ),
    "truth-size-differs": (
        "warning",
        "the true PNG of an image has another size than the JSON says; the PNG is used",
    ),
    "truth-segment-without-pixels": (
        "warning",
        "a true segment has no pixel in its PNG; unless a crowd it counts as missed (FN), as in published "
        "results (ADE20K has segments that others cover)",
    ),
    "prediction-segment-without-pixels": (
        "error",
        "the JSON lists a predicted segment that no pixel of the PNG has; remove it or draw it",
    ),
    "truth-pixels-without-segment": (
        "warning",
        "pixels of a true PNG hold an id that the JSON does not list: they are neither a segment nor void, "
        "and count against predictions; list the segment or set them to 0",
    ),
    "prediction-pixels-without-segment": (
        "error",
        "pixels of a predicted PNG hold an id that the JSON does not list; list it (only 0, void, "
        "needs no entry)",
    ),
    "areas-differ": (
        "warning",
        "the area of a true segment in the JSON is not its number of pixels, so IoU depends on which is "
        "used; published results use the JSON (--areas json, the default), --areas png counts the pixels",
    ),
    "areas-other-choice": ("note", "what the other choice of areas gives"),
    "area-impossible": (
        "error",
        "the area of a true segment in the JSON is so small that an IoU would exceed 1; correct the JSON, or "
        "count the pixels with --areas png",
    ),
    "seen-id-unknown": ("warning", "a seen category id is no category of the truth; it is ignored"),
    "seen-by-preset": (
        "note",
        "the categories are those of a published list; its synonyms decide what is seen",
    ),
    "nothing-counted": ("warning", "no segment counts in any category, so there is no figure at all"),
}


def report(issues: IssueList, code: str, example: str) -> None:
    """Gather one fault."""
    severity, message = FAULTS[code]
    issues.add(code, message, example=example, severity=severity)


def refuse_errors(issues: IssueList, *, subject: str) -> None:
    """Stop if there are errors.

    Raises:
        DatasetError: all errors, then all warnings, one per line.
    """
    if errors := issues.with_severity("error"):
        lines = [f"- {issue}" for issue in errors]
        lines += [f"- warning: {issue}" for issue in issues.with_severity("warning")]
        raise DatasetError("\n".join([f"{subject} cannot be scored:", *lines]))
