"""Open a dataset by name or path. This module lists all supported datasets."""

import os
from collections.abc import Callable
from pathlib import Path

from ovrcoat.data.ade20k import Ade20k
from ovrcoat.data.cityscapes import Cityscapes
from ovrcoat.data.coco import Coco
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.folder import DOCUMENT, PanopticFolderDataset
from ovrcoat.data.label_images import LABEL_SUFFIXES
from ovrcoat.data.mapillary import Mapillary
from ovrcoat.data.splits import DEFAULT_SPLIT
from ovrcoat.errors import DatasetError
from ovrcoat.system.paths import access_problem, exists, expand_user, is_file, resolve

DATASETS: dict[str, Callable[[Path, str], Dataset]] = {
    "coco": Coco,
    "ade20k": Ade20k,
    "cityscapes": Cityscapes,
    "mapillary": Mapillary,
}
ROOT_VARIABLES = ("OVRCOAT_DATASETS", "DETECTRON2_DATASETS")
DEFAULT_ROOT = "datasets"  # in the current folder, as in detectron2


def list_datasets() -> tuple[str, ...]:
    """Return the names that `open_dataset` accepts."""
    return tuple(DATASETS)


def find_root(root: str | Path | None = None) -> Path:
    """Return `root`, or else $OVRCOAT_DATASETS, $DETECTRON2_DATASETS or ./datasets, in this order."""
    chosen = root or next((os.environ[name] for name in ROOT_VARIABLES if os.environ.get(name)), DEFAULT_ROOT)
    return expand_user(chosen)


def open_dataset(
    name_or_path: str | Path, *, root: str | Path | None = None, split: str | None = None
) -> Dataset:
    """Open one split of a dataset. Reads the lists at once, images and labels only when they are requested.

    Args:
        name_or_path: A name from `list_datasets()`, or the path of your own folder or zip file (see
            docs/datasets.md). "coco" is a name, "./coco" is a path.
        root: Where a published dataset is stored, in the layout of its release: the folder that contains
            it, its own folder, or its zip file. Default: see `find_root`.
        split: "val" (the default) or "train". Of your own folders, only those that other tools have exported
            can have splits.

    Raises:
        DatasetError: The dataset, split or folder does not exist, or files are missing or contradict each
            other. For missing files the message says where to get them.
    """
    name = str(name_or_path)
    if name in DATASETS:
        folder = find_root(root)
        if root is None and not exists(folder):
            raise DatasetError(
                f"{name}: the folder of datasets {folder} does not exist; set --root (root=…) or the "
                f"environment variable {ROOT_VARIABLES[0]}"
            )
        return DATASETS[name](folder, split or DEFAULT_SPLIT)
    path = expand_user(name_or_path)
    if problem := access_problem(path):
        raise DatasetError(f"{name}: the folder or zip file cannot be read ({problem}); check the path")
    if not exists(path):
        raise DatasetError(
            f"{name}: neither a dataset ({', '.join(DATASETS)}) nor an existing folder or zip file; "
            "check the name or the path"
        )
    dataset = _open_folder(path, split)
    if split is not None and dataset.split is None:
        raise DatasetError(
            f"{name}: your own folder has no splits, but split {split!r} was requested; omit it"
        )
    return dataset


def _open_folder(path: Path, split: str | None) -> Dataset:
    # imported here, so that a wrong path is reported without loading the readers of all formats
    from ovrcoat.data.coco_instances_folder import CocoInstancesFolder, find_coco_instances
    from ovrcoat.data.labelme import LabelmeFolder, find_labelme_files
    from ovrcoat.data.semantic_folder import SemanticFolderDataset
    from ovrcoat.data.yolo import YoloFolder, find_yolo_labels

    name = path.stem if is_file(path) else resolve(path).name
    tree = FileTree(path, home=name)
    if tree.exists(DOCUMENT):
        return PanopticFolderDataset(tree, name=name)
    if tree.list("labels", suffixes=LABEL_SUFFIXES):
        return SemanticFolderDataset(tree, name=name)
    if (yolo := find_yolo_labels(tree, split)) is not None:
        return YoloFolder(tree, name=name, labels=yolo[0], split=yolo[1])
    if (source := find_coco_instances(tree, split)) is not None:
        return CocoInstancesFolder(tree, name=name, source=source)
    if (labelme := find_labelme_files(tree, split)) is not None:
        return LabelmeFolder(tree, name=name, files=labelme[0], split=labelme[1])
    raise tree.missing(
        DOCUMENT,
        "labels/",
        advice="Your own dataset needs images/, panoptic/ and panoptic.json; or images/, labels/ and a file "
        "of names; or an export of COCO instances, YOLO segmentation or Labelme (docs/datasets.md). To open "
        f"a published dataset, give its name and --root: {', '.join(DATASETS)}.",
    )
