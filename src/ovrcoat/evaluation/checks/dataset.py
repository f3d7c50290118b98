"""Check a labeled dataset and collect all issues in one pass, before any score is computed.

Lists are checked completely. Images and label files are decoded one by one, so memory use does not grow with
the dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ovrcoat.data import ade20k, cityscapes, coco, mapillary
from ovrcoat.data.catalog import DATASETS, find_root, open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.find_images import SUFFIXES
from ovrcoat.data.folder import DOCUMENT
from ovrcoat.data.instance_dataset import InstanceDataset
from ovrcoat.data.label_images import LABEL_SUFFIXES
from ovrcoat.data.splits import DEFAULT_SPLIT
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.dataset_issues import DATASET_ISSUES
from ovrcoat.evaluation.checks.images import ImageChecker
from ovrcoat.evaluation.checks.labels import check_labels
from ovrcoat.evaluation.checks.layout import LONG_SPLITS, Layout, check_layout
from ovrcoat.evaluation.checks.panoptic import PanopticAnnotation, check_annotations, check_categories
from ovrcoat.evaluation.checks.panoptic_issues import PANOPTIC_ISSUES
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.issues import IssueList
from ovrcoat.system.paths import expand_user, is_file, resolve
from ovrcoat.vocabulary import Vocabulary, VocabularyInput

HOMES = {
    "coco": coco.HOME,
    "ade20k": ade20k.HOME,
    "cityscapes": cityscapes.HOME,
    "mapillary": mapillary.HOME,
}
# Issues of `Dataset.issues` that this module reports in more detail.
CHECKED_HERE = ("image-without-labels", "area")
# Possible paths of a split's panoptic JSON; {long} is "training" or "validation".
DOCUMENTS = {
    "coco": ("annotations/panoptic_{split}2017.json",),
    "ade20k": ("ade20k_panoptic_{split}.json",),
    "cityscapes": ("gtFine/cityscapes_panoptic_{split}.json",),
    "mapillary": ("{long}/panoptic/panoptic_2018.json", "{long}/v1.2/panoptic/panoptic_2018.json"),
}


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """Result of a check.

    Attributes:
        issues: The issues.
        image_count: Number of images that were decoded.
        tasks: Tasks that the dataset serves, sorted; empty if it cannot be opened.
    """

    issues: IssueList
    image_count: int
    tasks: tuple[str, ...] = ()


def check_dataset(
    data: str | Path,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    vocabulary: VocabularyInput | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> DatasetCheck:
    """Check a dataset for all known issues.

    Args:
        data: Name or path, as for `open_dataset`.
        root: Folder of the published datasets, as for `open_dataset`.
        split: "val" or "train". Default: "val".
        vocabulary: Classes to compare the labels with. None: all presets. Published datasets are not compared
            with the presets.
        limit: Maximum number of images and label files to decode. Lists are always checked completely.
        progress: Show a progress bar on a terminal.

    Raises:
        DatasetError: The folder or file does not exist.
        VocabularyError: `vocabulary` cannot be read.
    """
    classes = None if vocabulary is None else Vocabulary.read(vocabulary)
    issues = IssueList({**DATASET_ISSUES, **PANOPTIC_ISSUES})
    name = str(data)
    tree = _open_tree(name, root)
    document = _read_document(name, tree, split=split or DEFAULT_SPLIT)
    annotations = _check_document(document, issues)
    with _progress_bar("label files", progress=progress and name in DATASETS) as bar:
        layout = Layout(tree, split or DEFAULT_SPLIT, document, issues, limit=limit, on_image=bar.update)
        check_layout(name, layout)
    try:
        dataset = open_dataset(data, root=root, split=split)
    except DatasetError as error:
        issues.report("dataset-unusable", str(error))
        return DatasetCheck(issues, 0)
    if name not in DATASETS:
        _check_names(dataset, issues)
    if name not in DATASETS or classes is not None:
        check_labels(dataset, classes, issues)
    _check_unlisted(dataset, tree, issues)
    checker = ImageChecker(dataset, tree, annotations, issues)
    records = dataset.records[:limit]
    with _progress_bar("images", progress=progress, total=len(records)) as bar:
        for record in records:
            checker.add(record)
            bar.update()
    checker.finish()
    return DatasetCheck(issues, len(records), tuple(sorted(dataset.tasks)))


def _progress_bar(title: str, *, progress: bool, total: int | None = None) -> "tqdm[Any]":
    """Create a progress bar that shows only on a terminal."""
    return tqdm(desc=title, total=total, unit="image", disable=None if progress else True)


def _open_tree(name: str, root: str | Path | None) -> FileTree:
    if name in DATASETS:
        return FileTree(find_root(root), home=HOMES[name], zip_folders=("", "annotations"))
    path = expand_user(name)
    return FileTree(path, home=path.stem if is_file(path) else resolve(path).name)


def _read_document(name: str, tree: FileTree, *, split: str) -> dict[str, Any]:
    """Return the raw panoptic JSON.

    Returns {} if it is missing or damaged; opening the dataset reports damage.
    """
    templates = DOCUMENTS.get(name, (DOCUMENT,))
    paths = (template.format(split=split, long=LONG_SPLITS.get(split, split)) for template in templates)
    path = next((path for path in paths if tree.exists(path)), None)
    try:
        return {} if path is None else parse_json_object(tree.read(path), location=tree.describe(path))
    except DatasetError:
        return {}


def _check_document(document: dict[str, Any], issues: IssueList) -> dict[ImageId, PanopticAnnotation]:
    """Check the images of the panoptic JSON; return its usable annotations by image id."""
    if not document:
        return {}
    # Issues of the categories are discarded here: opening the dataset reports them.
    categories = check_categories(document, IssueList(PANOPTIC_ISSUES))
    return check_annotations(document, side="truth", categories=categories, issues=issues)


def _check_names(dataset: Dataset, issues: IssueList) -> None:
    """Check the category names of a user's own dataset.

    The names of published datasets are not checked: published scores depend on their peculiarities.
    """
    first: dict[str, int] = {}
    for category in dataset.categories:
        key = category.name.casefold().strip()
        if key in first:
            issues.report("category-name-twice", f"{category.name!r}: ids {first[key]} and {category.id}")
        first.setdefault(key, category.id)
        if isinstance(dataset, InstanceDataset):
            if not category.is_thing:
                issues.report("stuff-by-name", f"{category.id} {category.name!r}")
        elif "panoptic" in dataset.tasks and category.thing_from != "given":
            issues.report("isthing-guessed", f"{category.id} {category.name!r}")
    for issue in dataset.vocabulary.lint():
        issues.report("vocabulary-issue", str(issue))


def _check_unlisted(dataset: Dataset, tree: FileTree, issues: IssueList) -> None:
    """Report what reading the lists noticed, and files that are in the folders but not in the lists."""
    for issue in dataset.issues:
        if isinstance(dataset, InstanceDataset) or issue.code not in CHECKED_HERE:
            issues.include(issue)
    if isinstance(dataset, InstanceDataset):
        return
    for path in _unlisted(tree, {record.image for record in dataset.records}, suffixes=SUFFIXES):
        issues.report("image-without-labels", path)
    if "panoptic" in dataset.tasks:  # folders of semantic labels also contain files of other kinds
        for path in _unlisted(tree, {record.labels for record in dataset.records}, suffixes=LABEL_SUFFIXES):
            issues.report("labels-without-image", path)


def _unlisted(tree: FileTree, listed: set[str], *, suffixes: tuple[str, ...]) -> Iterator[str]:
    for folder in sorted({str(PurePosixPath(path).parent) for path in listed}):
        for path in tree.list(folder, suffixes=suffixes):
            if path not in listed and str(PurePosixPath(path).parent) == folder:
                yield path
