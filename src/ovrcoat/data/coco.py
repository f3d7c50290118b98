"""COCO 2017 panoptic in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovrcoat.data.files import FileTree
from ovrcoat.data.instances import INSTANCES_FORMAT, select_instances
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.panoptic_json import PANOPTIC_FORMAT, check_categories, read_document
from ovrcoat.vocabulary import Vocabulary

HOME = "coco"
ADVICE = (
    "Download COCO 2017 from https://cocodataset.org/#download: val2017.zip, annotations_trainval2017.zip "
    "(instances) and panoptic_annotations_trainval2017.zip; they need not be unpacked."
)


class Coco(PanopticDataset):
    """COCO: 133 categories. Semantic ground truth is derived from panoptic, instances have their own JSON.

    Args:
        root: Folder of the datasets, the dataset's own folder, or a zip file.
        split: "val" or "train".

    Raises:
        DatasetError: A file is missing or invalid, or the split does not exist.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, ("val", "train"), name="coco")
        # the panoptic release contains its PNGs as zip files that unpack into annotations/
        tree = FileTree(root, home=HOME, zip_folders=("", "annotations"))
        path = f"annotations/panoptic_{split}2017.json"
        location = tree.describe(path)
        content = tree.read(path, advice=ADVICE)
        data = parse_json_object(content, location=location, expected=PANOPTIC_FORMAT)
        categories = Vocabulary.named("coco").categories
        check_categories(data, categories, location=location)
        labels = _labels_folder(tree, data, split=split)
        document = read_document(
            data,
            location=location,
            category_ids=[category.id for category in categories],
            image_path=lambda _, file_name: f"{split}2017/{file_name}",
            labels_path=lambda _, file_name: f"{labels}/{file_name}",
        )
        self._instances_path = f"annotations/instances_{split}2017.json"
        super().__init__(
            tree,
            name="coco",
            split=split,
            categories=categories,
            records=document.records,
            tasks=frozenset(("panoptic", "semantic", "instance")),
            advice=ADVICE,
            issues=document.issues,
        )
        self.document_path = path
        self.sizes = document.sizes

    def documents(self) -> Sequence[str]:
        """Return the path of the instances JSON."""
        return (self._instances_path,)

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Return COCO's own instances of these records.

        Their masks differ from those of the panoptic ground truth; published AP uses them.

        Raises:
            DatasetError: The JSON is missing or lacks one of the images.
        """
        path = self._instances_path
        location = self.tree.describe(path)
        content = self.tree.read(path, advice=self.advice)
        data = parse_json_object(content, location=location, expected=INSTANCES_FORMAT)
        return select_instances(data, records, location=location)


def _labels_folder(tree: FileTree, data: dict[str, Any], *, split: str) -> str:
    """Return the folder of PNGs: next to annotations/ (as published code expects) or inside (as unpacked)."""
    folders = (f"panoptic_{split}2017", f"annotations/panoptic_{split}2017")
    annotations = data.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    name = first.get("file_name") if isinstance(first, dict) else None
    return next((folder for folder in folders if tree.exists(f"{folder}/{name}")), folders[0])
