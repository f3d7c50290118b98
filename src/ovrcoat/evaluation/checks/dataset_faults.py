"""What can be wrong with the files of a labelled data set: every fault's code, level and words."""

from ovrcoat.issues import IssueList, Severity

# code → level; what it is, why it matters for the numbers, what to do
FAULTS: dict[str, tuple[Severity, str]] = {
    # any data set
    "data-set-unusable": ("error", "the data set cannot be opened"),
    "image-missing": (
        "error",
        "an image that has labels is missing: every number would leave it out; copy it to where it was looked "
        "for",
    ),
    "image-damaged": (
        "error",
        "an image cannot be decoded: it is damaged, cut off or no picture; copy or download it again",
    ),
    "image-rotated": (
        "note",
        "an image is stored lying and turned upright by its EXIF orientation, as its labels are: programs "
        "that overlook EXIF see it lying; ovrcoat does not",
    ),
    "labels-of-unrotated-photo": (
        "error",
        "an image is turned by its EXIF orientation but its labels were drawn on the image as stored: they "
        "would be compared with the wrong pixels; remove the orientation tag or turn the labels",
    ),
    "size-differs": (
        "error",
        "labels have another size than their image: no pixel can be compared; labels must have their "
        "image's width and height",
    ),
    "labels-missing": (
        "error",
        "the label picture of an image is missing: every number would leave the image out; copy it to where "
        "it was looked for",
    ),
    "labels-unusable": (
        "error",
        "the labels of an image cannot be read as they should be: they are damaged, of another kind, or hold "
        "what no category means",
    ),
    "areas-cost": (
        "note",
        "what the areas of the JSON do to panoptic quality, in percent; with right areas it would be 100",
    ),
    "image-without-labels": (
        "note",
        "an image has no labels, so it is not evaluated; add its labels if it should be",
    ),
    "labels-without-image": (
        "warning",
        "a label picture belongs to no photo of the list, so it is not evaluated; was the list cut short?",
    ),
    "image-unlabelled": (
        "note",
        "all pixels of an image are void or ignored: whatever is predicted there costs nothing",
    ),
    "all-ignored": (
        "error",
        "no pixel of any image has a category: every number would be undefined; check which values the "
        "labels hold and which one is ignored",
    ),
    "categories-differ": (
        "error",
        "the JSON's categories are not those of the published data set: ids would be counted for the wrong "
        "names; take the file of the release, and the right version of it",
    ),
    "category-name-twice": (
        "error",
        "two categories have the same name: a model asked with words cannot tell them apart, so each takes "
        "the other's segments; join them or name them differently",
    ),
    "isthing-guessed": (
        "warning",
        "a category lacks isthing (0 or 1), so whether it counts as thing or stuff is guessed from its name; "
        "add it",
    ),
    "vocabulary-issue": ("warning", "the names of the categories are doubtful"),
    # COCO
    "image-in-other-split": (
        "error",
        "an image lies in the folder of another split: JSON and images are not of one split; say the right "
        "--split or move the images",
    ),
    "coco-panoptic-inside": (
        "note",
        "the panoptic PNGs lie inside annotations/, where the release's zip file unpacks (or still zipped): "
        "ovrcoat reads them there, detectron2's programs look for the folder beside annotations/",
    ),
    # ADE20K
    "ade20k-labels-shifted": (
        "error",
        "annotations/ holds 255: these labels are already shifted (detectron2's), so that 0 means wall; each "
        "category would be taken for the one before it; put the release's files there (0 other, 1..150)",
    ),
    "ade20k-label-unknown": (
        "error",
        "annotations/ holds values beyond 150: these are no labels of ADE20K's 150 categories (the full "
        "release has others); take those of ADEChallengeData2016",
    ),
    "ade20k-labels-not-shifted": (
        "error",
        "annotations_detectron2/ is not annotations/ minus 1 (0 to 255): programs that read it count each "
        "category as the next one; make it again from annotations/",
    ),
    "ade20k-shifted-labels-missing": (
        "note",
        "annotations_detectron2/ is missing: ovrcoat does not need it, detectron2's programs do",
    ),
    "ade20k-instances-missing": (
        "warning",
        "annotations_instance/ is missing (a download of its own): without it neither panoptic labels nor "
        "mask AP can be prepared; get it from the page of the 2017 challenge",
    ),
    "ade20k-instance-png-missing": (
        "error",
        "an image lacks its PNG in annotations_instance/: its things would be void; "
        "download the archive again",
    ),
    "ade20k-instance-class": (
        "error",
        "annotations_instance/ holds classes beyond 100 in its red channel: no thing has such a number, so "
        "the conversion fails or names it wrongly; take the files of the release, unchanged",
    ),
    "ade20k-full-extra-folder": (
        "warning",
        "the published conversion of the full ADE20K wrote below an extra folder ade/, where the published "
        "loader does not look: it finds no labels; move ade/ADE20K_2021_17_01 up into ADE20K_2021_17_01",
    ),
    # Cityscapes
    "cityscapes-train-ids": (
        "error",
        "the panoptic JSON counts categories by train id (0..18) instead of label id (7..33): 7 to 18 would "
        "be counted for other categories; use the file without _trainId, or run: ovrcoat prepare cityscapes "
        "ROOT",
    ),
    "cityscapes-city-missing": (
        "error",
        "a city's folder is in leftImg8bit/ or in gtFine/ but not in both: its images cannot be evaluated; "
        "unpack the same cities of both archives",
    ),
    "cityscapes-label-unknown": (
        "error",
        "labelIds.png holds values outside the list 0..33: these are train ids, colours or another data "
        "set's; take the files of the release",
    ),
    "cityscapes-train-labels-differ": (
        "error",
        "labelTrainIds.png contradicts labelIds.png: mIoU and PQ would be measured against different truths; "
        "make it again with the official script, or remove it",
    ),
    "cityscapes-instances-differ": (
        "error",
        "instanceIds.png contradicts labelIds.png: PQ and mIoU would be measured against different truths; "
        "take both files from one release",
    ),
    "cityscapes-stuff-instance": (
        "error",
        "instanceIds.png numbers instances (1000 and above) of a label that has none: stuff would be cut "
        "into segments that no program predicts; use the label id itself",
    ),
    "cityscapes-group-not-crowd": (
        "error",
        "a group of things (segment id below 1000) is not marked iscrowd: it counts as one thing that must "
        "be found; run: ovrcoat prepare cityscapes ROOT",
    ),
    # Mapillary Vistas
    "mapillary-version": (
        "error",
        "these are files of Mapillary Vistas v2.0 (124 labels), but v1.2 (65 categories) is what is "
        "evaluated: their numbers mean other things; take the v1.2 annotation",
    ),
    "mapillary-labels-rgb": (
        "error",
        "a label picture was converted from palette to colours: its index, which is the label, is lost; take "
        "the files of the release",
    ),
    "mapillary-label-unknown": (
        "error",
        "a label picture holds values beyond 65 (unlabelled): these are labels of v2.0 or another data "
        "set's; take the v1.2 annotation",
    ),
    # folders of semantic labels
    "labels-of-8-bits": (
        "error",
        "the labels have 8 bits although there are categories with ids beyond 255: such ids were cut off "
        "when the picture was written; write 16-bit PNG or TIFF",
    ),
}


def add_fault(issues: IssueList, code: str, example: str) -> None:
    """Count one more fault of a kind of `FAULTS`."""
    severity, message = FAULTS[code]
    issues.add(code, message, example=example, severity=severity)
