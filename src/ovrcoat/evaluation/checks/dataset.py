"""All faults of a labelled data set, gathered in one pass before any number is computed.

Lists are checked whole; images and label pictures are decoded one by one, in memory that does not grow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ovrcoat.data import ade20k, cityscapes, coco, mapillary
from ovrcoat.data.catalog import DATASETS, DEFAULT_SPLIT, find_root, open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.folder import DOCUMENT
from ovrcoat.data.images import SUFFIXES
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.dataset_faults import add_fault
from ovrcoat.evaluation.checks.images import ImageChecker
from ovrcoat.evaluation.checks.layout import LONG_SPLITS, Layout, check_layout
from ovrcoat.evaluation.checks.panoptic import Annotation, check_annotations, check_categories
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.panoptic_json import parse_json
from ovrcoat.issues import IssueList

HOMES = {
    "coco": coco.HOME,
    "ade20k": ade20k.HOME,
    "cityscapes": cityscapes.HOME,
    "mapillary": mapillary.HOME,
}
# where a split's panoptic JSON may lie; {long} is training or validation
DOCUMENTS = {
    "coco": ("annotations/panoptic_{split}2017.json",),
    "ade20k": ("ade20k_panoptic_{split}.json",),
    "cityscapes": ("gtFine/cityscapes_panoptic_{split}.json",),
    "mapillary": ("{long}/panoptic/panoptic_2018.json", "{long}/v1.2/panoptic/panoptic_2018.json"),
}
LABEL_SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """What was found, and how many images were looked at."""

    issues: IssueList
    image_count: int


def check_dataset(
    data: str | Path,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> DatasetCheck:
    """Look for every known fault in a data set: a name or a path, as `open_dataset` takes them.

    With `limit` only so many images and label pictures are decoded; lists are always checked whole.

    Raises:
        DatasetError: there is no such place, so there is nothing to check.
    """
    issues = IssueList()
    name = str(data)
    tree = _find_tree(name, root)
    document = _read_document(name, tree, split=split or DEFAULT_SPLIT)
    annotations = _check_document(document, issues)
    with _bar("label files", progress=progress and name in DATASETS) as bar:
        layout = Layout(tree, split or DEFAULT_SPLIT, document, issues, limit=limit, tick=bar.update)
        check_layout(name, layout)
    try:
        dataset = open_dataset(data, root=root, split=split)
    except DatasetError as error:
        add_fault(issues, "data-set-unusable", str(error))
        return DatasetCheck(issues, 0)
    if name not in DATASETS:
        _check_names(dataset, issues)
    _check_unlisted(dataset, tree, issues)
    check = ImageChecker(dataset, tree, annotations, issues)
    records = dataset.records[:limit]
    with _bar("images", progress=progress, total=len(records)) as bar:
        for record in records:
            check.add(record)
            bar.update()
    check.finish()
    return DatasetCheck(issues, len(records))


def _bar(title: str, *, progress: bool, total: int | None = None) -> "tqdm[Any]":
    """A progress bar, on a terminal only."""
    return tqdm(desc=title, total=total, unit="image", disable=None if progress else True)


def _find_tree(name: str, root: str | Path | None) -> FileTree:
    if name in DATASETS:
        return FileTree(find_root(root), home=HOMES[name], zip_folders=("", "annotations"))
    path = Path(name).expanduser()
    return FileTree(path, home=path.stem if path.is_file() else path.resolve().name)


def _read_document(name: str, tree: FileTree, *, split: str) -> dict[str, Any]:
    """The panoptic JSON as it is; {} if there is none, or a damaged one, which opening the data set tells."""
    forms = DOCUMENTS.get(name, (DOCUMENT,))
    paths = (form.format(split=split, long=LONG_SPLITS.get(split, split)) for form in forms)
    path = next((path for path in paths if tree.exists(path)), None)
    try:
        return {} if path is None else parse_json(tree.read(path), place=tree.describe(path))
    except DatasetError:
        return {}


def _check_document(document: dict[str, Any], issues: IssueList) -> dict[ImageId, Annotation]:
    """What the panoptic JSON says of its images; its annotations that can be used, by image id."""
    if not document:
        return {}
    categories = check_categories(document, IssueList())  # their faults are told by opening the data set
    return check_annotations(document, side="truth", categories=categories, issues=issues)


def _check_names(dataset: Dataset, issues: IssueList) -> None:
    """The words of a user's own categories; published lists have quirks that published numbers rest on."""
    first: dict[str, int] = {}
    for category in dataset.categories:
        key = category.name.casefold().strip()
        if key in first:
            add_fault(issues, "category-name-twice", f"{category.name!r}: ids {first[key]} and {category.id}")
        first.setdefault(key, category.id)
        if "panoptic" in dataset.tasks and category.thing_from != "given":
            add_fault(issues, "isthing-guessed", f"{category.id} {category.name!r}")
    for problem in dataset.vocabulary.lint():
        add_fault(issues, "vocabulary-issue", problem.message)


def _check_unlisted(dataset: Dataset, tree: FileTree, issues: IssueList) -> None:
    """Images and label pictures that lie beside the listed ones."""
    _compare_lists(
        tree,
        {record.image for record in dataset.records},
        suffixes=SUFFIXES,
        tell=lambda path: add_fault(issues, "image-without-labels", path),
    )
    if "panoptic" in dataset.tasks:  # folders of semantic labels hold pictures of other kinds, too
        _compare_lists(
            tree,
            {record.labels for record in dataset.records},
            suffixes=LABEL_SUFFIXES,
            tell=lambda path: add_fault(issues, "labels-without-image", path),
        )


def _compare_lists(
    tree: FileTree, listed: set[str], *, suffixes: tuple[str, ...], tell: Callable[[str], object]
) -> None:
    for folder in sorted({str(PurePosixPath(path).parent) for path in listed}):
        for path in tree.list(folder, suffixes=suffixes):
            if path not in listed and str(PurePosixPath(path).parent) == folder:
                tell(path)
