"""COCO 2017 panoptic, in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovrcoat.data.files import FileTree
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import check_categories, parse_json, read_document
from ovrcoat.vocabulary import Vocabulary

HOME = "coco"
ADVICE = (
    "COCO 2017 is at https://cocodataset.org/#download: val2017.zip, annotations_trainval2017.zip "
    "(instances) and panoptic_annotations_trainval2017.zip; the zip files are read as they are."
)


class Coco(PanopticDataset):
    """133 categories; semantic truth from the panoptic one, instances from COCO's own JSON.

    Raises:
        DatasetError: a file is missing or faulty, or there is no such split.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, ("val", "train"), name="coco")
        # the panoptic release holds its PNGs in zips that unpack into annotations/
        tree = FileTree(root, home=HOME, zip_folders=("", "annotations"))
        path = f"annotations/panoptic_{split}2017.json"
        data = parse_json(tree.read(path, advice=ADVICE), place=tree.describe(path))
        categories = Vocabulary.named("coco").categories
        check_categories(data, categories, place=tree.describe(path))
        labels = _labels_folder(tree, data, split=split)
        document = read_document(
            data,
            place=tree.describe(path),
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
        )
        self.document_path = path
        self.sizes = document.sizes

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """COCO's own instances of these records: other masks than the panoptic ones, as in published AP.

        Raises:
            DatasetError: the JSON is missing or lacks one of the photos.
        """
        path = self._instances_path
        data = parse_json(self.tree.read(path, advice=self.advice), place=self.tree.describe(path))
        return select_instances(data, records, place=self.tree.describe(path))


def select_instances(data: dict[str, Any], records: Sequence[Record], *, place: str) -> dict[str, Any]:
    """The images and annotations of `records` in an instances JSON; its categories as they are.

    Raises:
        DatasetError: a list is missing, or the JSON lacks one of the photos.
    """
    wanted = {record.image_id for record in records}
    try:
        images = [image for image in data["images"] if image["id"] in wanted]
        annotations = [annotation for annotation in data["annotations"] if annotation["image_id"] in wanted]
        categories = data["categories"]
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{place}: this is no instances file of COCO's form ({error!r}): images, annotations and "
            "categories, each a list of objects, were expected; download it again"
        ) from error
    missing = wanted - {image["id"] for image in images}
    if missing:
        raise DatasetError(
            f"{place}: {len(missing)} of {len(wanted)} images are missing, e.g. {next(iter(missing))!r}; "
            "take panoptic and instance labels of one release and split"
        )
    return {"images": images, "annotations": annotations, "categories": categories}


def _labels_folder(tree: FileTree, data: dict[str, Any], *, split: str) -> str:
    """Beside annotations/, where all published code expects it, or inside, where the release unpacks it."""
    folders = (f"panoptic_{split}2017", f"annotations/panoptic_{split}2017")
    annotations = data.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    name = first.get("file_name") if isinstance(first, dict) else None
    return next((folder for folder in folders if tree.exists(f"{folder}/{name}")), folders[0])
