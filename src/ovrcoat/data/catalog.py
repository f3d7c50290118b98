"""A name or a path in, a data set out: the one place that knows them all."""

import os
from collections.abc import Callable
from pathlib import Path

from ovrcoat.data.ade20k import Ade20k
from ovrcoat.data.cityscapes import Cityscapes
from ovrcoat.data.coco import Coco
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.folder import DOCUMENT, PanopticFolderDataset
from ovrcoat.data.mapillary import Mapillary
from ovrcoat.data.semantic_folder import SemanticFolderDataset
from ovrcoat.errors import DatasetError

DATASETS: dict[str, Callable[[Path, str], Dataset]] = {
    "coco": Coco,
    "ade20k": Ade20k,
    "cityscapes": Cityscapes,
    "mapillary": Mapillary,
}
ROOT_VARIABLES = ("OVRCOAT_DATASETS", "DETECTRON2_DATASETS")
DEFAULT_ROOT = "datasets"  # in the current folder, as detectron2 has it
DEFAULT_SPLIT = "val"


def list_datasets() -> tuple[str, ...]:
    """The names that `open_dataset` takes."""
    return tuple(DATASETS)


def find_root(root: str | Path | None = None) -> Path:
    """Where data sets lie: `root`, else $OVRCOAT_DATASETS, else $DETECTRON2_DATASETS, else ./datasets."""
    chosen = root or next((os.environ[name] for name in ROOT_VARIABLES if os.environ.get(name)), DEFAULT_ROOT)
    return Path(chosen).expanduser()


def open_dataset(
    name_or_path: str | Path, *, root: str | Path | None = None, split: str | None = None
) -> Dataset:
    """Open one split of a data set; lists are read, images and labels only when asked for.

    `name_or_path` is a name of `list_datasets()`, read in the layout of its release below `root` (see
    `find_root`; the data set's own folder or a zip file may be named, too), or the path of a folder or zip of
    your own (docs/datasets.md); "./coco" is a path. `split` is "val" (the default) or "train"; a folder of
    your own has none.

    Raises:
        DatasetError: there is no such data set, split or place; files are missing (the message says what was
            looked for and where to get it) or contradict each other.
    """
    name = str(name_or_path)
    if name in DATASETS:
        place = find_root(root)
        if root is None and not place.exists():
            raise DatasetError(
                f"{name}: data sets are looked for in {place}, which does not exist; say where they are with "
                f"--root (root=…) or the environment variable {ROOT_VARIABLES[0]}"
            )
        return DATASETS[name](place, split or DEFAULT_SPLIT)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise DatasetError(
            f"{name}: neither a data set ({', '.join(DATASETS)}) nor a folder or zip file that exists; "
            "check the name or the path"
        )
    if split is not None:
        raise DatasetError(
            f"{name}: a folder of your own has no splits, but {split!r} was asked for; leave it out"
        )
    return _open_folder(path)


def _open_folder(path: Path) -> Dataset:
    name = path.stem if path.is_file() else path.resolve().name
    tree = FileTree(path, home=name)
    if tree.exists(DOCUMENT):
        return PanopticFolderDataset(tree, name=name)
    if tree.list("labels", suffixes=(".png", ".tif", ".tiff")):
        return SemanticFolderDataset(tree, name=name)
    raise tree.missing(
        DOCUMENT,
        "labels/",
        advice="A data set of your own holds images/, panoptic/ and panoptic.json, or images/, labels/ and "
        "names (docs/datasets.md); a published one is opened by its name with --root: "
        f"{', '.join(DATASETS)}.",
    )
