"""Catalog of the issues that a labeled dataset can have: code, severity and message."""

from ovrcoat.issues import IssueCatalog

# Each message says what is wrong, why it matters for the scores, and what to do.
DATASET_ISSUES: IssueCatalog = {
    # any dataset
    "dataset-unusable": ("error", "the dataset cannot be opened"),
    "image-missing": (
        "error",
        "a labeled image is missing, so all scores would leave it out; copy it to the path shown",
    ),
    "image-damaged": (
        "error",
        "an image cannot be decoded: it is damaged, truncated or not an image; copy or download it again",
    ),
    "image-rotated": (
        "note",
        "an image is stored sideways and rotated by its EXIF orientation, and its labels match the rotated "
        "image: ovrcoat applies the orientation, programs that ignore EXIF do not",
    ),
    "labels-of-unrotated-image": (
        "error",
        "an image is rotated by its EXIF orientation, but its labels match the image as stored: they would "
        "be compared with the wrong pixels; remove the orientation tag or rotate the labels",
    ),
    "size-differs": (
        "error",
        "labels and image differ in size, so pixels cannot be compared; labels must have the width and "
        "height of their image",
    ),
    "labels-missing": (
        "error",
        "the label file of an image is missing, so all scores would leave the image out; copy it to the path "
        "shown",
    ),
    "labels-unusable": (
        "error",
        "the labels of an image cannot be used: they are damaged, have an unexpected format, or hold values "
        "that belong to no category",
    ),
    "areas-cost": (
        "note",
        "the effect of wrong areas in the JSON on panoptic quality, in percent; with correct areas it would "
        "be 100",
    ),
    "image-without-labels": (
        "note",
        "an image has no labels and is not evaluated; add labels if it should be",
    ),
    "labels-without-image": (
        "warning",
        "a label file belongs to no listed image and is not evaluated; check whether the list is complete",
    ),
    "image-unlabeled": (
        "note",
        "all pixels of an image are void or ignored, so predictions for it do not affect the scores",
    ),
    "all-ignored": (
        "error",
        "no pixel of any image has a category, so every score would be undefined; check which values the "
        "labels hold and which one is ignored",
    ),
    "categories-differ": (
        "error",
        "the categories of the JSON are not those of the published dataset, so ids would be counted for the "
        "wrong classes; use the file of the release in the right version",
    ),
    "category-name-twice": (
        "error",
        "two categories have the same name: the model cannot tell them apart, so each receives segments of "
        "the other; merge or rename them",
    ),
    "isthing-guessed": (
        "warning",
        "a category lacks isthing (0 or 1), so thing or stuff is guessed from its name; add it",
    ),
    "object-covered": (
        "note",
        "an object has no pixel of its own, because it is outside of the image or smaller ones cover it; "
        "panoptic ground truth leaves it out, mask AP does not",
    ),
    "stuff-by-name": (
        "note",
        "the format does not state thing or stuff, and a preset lists the name as stuff: its objects are "
        "merged into one segment per image, and mask AP leaves them out",
    ),
    "label-in-no-preset": (
        "note",
        "no preset vocabulary contains the name of a label, so the model knows it only from CLIP's text "
        "tower; check its spelling, and add synonyms that describe what is visible",
    ),
    "label-not-in-vocabulary": (
        "warning",
        "a label has no class of the same name in the vocabulary, so it is neither learned nor found under "
        "its name; add it to the vocabulary, or rename it",
    ),
    "vocabulary-issue": ("warning", "the names of the categories are suspicious"),
    # COCO
    "image-in-other-split": (
        "error",
        "an image is in the folder of another split, so JSON and images do not match; set --split correctly "
        "or move the images",
    ),
    "coco-panoptic-inside": (
        "note",
        "the panoptic PNGs are inside annotations/, where the release's zip file unpacks (or still zipped): "
        "ovrcoat reads them there, detectron2 expects the folder next to annotations/",
    ),
    # ADE20K
    "ade20k-labels-shifted": (
        "error",
        "annotations/ holds 255: these labels are already shifted (as detectron2's are), so 0 means wall and "
        "each category would be read as the previous one; use the files of the release (0 other, 1..150)",
    ),
    "ade20k-label-unknown": (
        "error",
        "annotations/ holds values above 150: these are not labels of ADE20K's 150 categories (the full "
        "release has others); use those of ADEChallengeData2016",
    ),
    "ade20k-labels-not-shifted": (
        "error",
        "annotations_detectron2/ is not annotations/ minus 1 (0 becomes 255), so programs that read it count "
        "each category as the next one; create it again from annotations/",
    ),
    "ade20k-shifted-labels-missing": (
        "note",
        "annotations_detectron2/ is missing: ovrcoat does not need it, detectron2 does",
    ),
    "ade20k-instances-missing": (
        "warning",
        "annotations_instance/ is missing (a separate download): panoptic labels and mask AP cannot be "
        "prepared without it; get it from the page of the 2017 challenge",
    ),
    "ade20k-instance-png-missing": (
        "error",
        "an image lacks its PNG in annotations_instance/, so its things would be void; download the archive "
        "again",
    ),
    "ade20k-instance-class": (
        "error",
        "annotations_instance/ holds classes above 100 in its red channel, which no thing has: the "
        "conversion fails or assigns wrong names; use the unchanged files of the release",
    ),
    "ade20k-full-extra-folder": (
        "warning",
        "the published conversion of the full ADE20K wrote into an extra folder ade/, where the published "
        "loader finds no labels; move ade/ADE20K_2021_17_01 up to ADE20K_2021_17_01",
    ),
    # Cityscapes
    "cityscapes-train-ids": (
        "error",
        "the panoptic JSON uses train ids (0..18) instead of label ids (7..33), so 7 to 18 would be counted "
        "for other categories; use the file without _trainId, or run: ovrcoat prepare cityscapes ROOT",
    ),
    "cityscapes-city-missing": (
        "error",
        "a city has a folder in only one of leftImg8bit/ and gtFine/, so its images cannot be evaluated; "
        "unpack the same cities of both archives",
    ),
    "cityscapes-label-unknown": (
        "error",
        "labelIds.png holds values outside 0..33: these are train ids, colors or labels of another dataset; "
        "use the files of the release",
    ),
    "cityscapes-train-labels-differ": (
        "error",
        "labelTrainIds.png contradicts labelIds.png, so mIoU and PQ would use different ground truth; create "
        "it again with the official script, or remove it",
    ),
    "cityscapes-instances-differ": (
        "error",
        "instanceIds.png contradicts labelIds.png, so PQ and mIoU would use different ground truth; use both "
        "files of one release",
    ),
    "cityscapes-stuff-instance": (
        "error",
        "instanceIds.png numbers instances (1000 and above) of a label that has none, so stuff would be "
        "split into segments that no model predicts; use the label id itself",
    ),
    "cityscapes-group-not-crowd": (
        "error",
        "a group of things (segment id below 1000) is not marked iscrowd, so it counts as a single thing "
        "that must be found; run: ovrcoat prepare cityscapes ROOT",
    ),
    # Mapillary Vistas
    "mapillary-version": (
        "error",
        "these are files of Mapillary Vistas v2.0 (124 labels), but the evaluation uses v1.2 (65 "
        "categories), whose ids have other meanings; use the v1.2 annotations",
    ),
    "mapillary-labels-rgb": (
        "error",
        "a label file was converted from palette to RGB, so its index, which is the label, is lost; use the "
        "files of the release",
    ),
    "mapillary-label-unknown": (
        "error",
        "a label file holds values above 65 (unlabeled): these are labels of v2.0 or of another dataset; "
        "use the v1.2 annotations",
    ),
    # folders of semantic labels
    "labels-of-8-bits": (
        "error",
        "the labels have 8 bits although there are category ids above 255: such ids were truncated when the "
        "file was written; write 16-bit PNG or TIFF",
    ),
}
