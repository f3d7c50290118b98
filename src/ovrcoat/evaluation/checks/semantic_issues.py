"""Catalog of the issues that folders of semantic label maps can have: code, severity and message."""

from ovrcoat.issues import IssueCatalog

# Each message says what is wrong, why it matters for mean IoU, and what to do.
SEMANTIC_ISSUES: IssueCatalog = {
    "folder-missing": ("error", "the folder of label maps does not exist; check the path"),
    "ground-truth-empty": (
        "error",
        "the ground-truth folder contains no PNG or TIFF, so nothing can be scored; check the path",
    ),
    "prediction-missing": (
        "error",
        "an image has no prediction, so all its pixels would count as missed; write a map of the same name "
        "for every ground-truth map",
    ),
    "prediction-without-truth": (
        "warning",
        "a prediction has no ground-truth map and is not scored; check that both folders belong to the same "
        "dataset and split",
    ),
    "duplicate-name": (
        "error",
        "two label maps have the same name without folder and suffix, so the pairing is ambiguous; remove "
        "one of them, or score each folder separately",
    ),
    "map-unreadable": ("error", "a label map cannot be read; write it again"),
    "size-differs": (
        "error",
        "a predicted map and its ground-truth map differ in size, so their pixels cannot be compared; resize "
        "the prediction to the size of the image, without interpolation",
    ),
    "truth-label-out-of-range": (
        "error",
        "a ground-truth map contains a value that is neither the index of a category nor the ignore label; "
        "map the labels (subtract one, or use train ids), or pass the right number of categories",
    ),
    "predicted-label-out-of-range": (
        "warning",
        "a predicted map contains a value that is not the index of a category; these pixels count as missed "
        "(the published evaluation stops or ignores them)",
    ),
    "all-pixels-ignored": (
        "warning",
        "every ground-truth pixel has the ignore label, so nothing was evaluated; check the ignore label",
    ),
}
