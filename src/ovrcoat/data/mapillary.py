"""Mapillary Vistas v1.2 labels (65 categories), in the layout of that release or inside the newer one."""

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_values, positions_of
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "mapillary_vistas"
FOLDERS = {"val": "validation", "train": "training"}
LAYOUTS = {"v1.2": "", "v1.2 inside v2.0": "v1.2/"}  # name → what stands before labels/ and panoptic/
ADVICE = (
    "Mapillary Vistas is at https://www.mapillary.com/dataset/vistas (registration): the v1.2 labels, which "
    "the v2.0 download has, too, below v1.2/; the zip file is read as it is. The labels of v2.0 are another "
    "list of categories."
)


class Mapillary(PanopticDataset):
    """65 categories with ids 1..65.

    Attributes:
        layout: where the labels were found: "v1.2" (validation/labels) or "v1.2 inside v2.0"
            (validation/v1.2/labels).

    Raises:
        DatasetError: a file is missing or faulty, or there is no such split.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, tuple(FOLDERS), name="mapillary")
        tree = FileTree(root, home=HOME)
        folder = FOLDERS[split]
        documents = {
            layout: f"{folder}/{below}panoptic/panoptic_2018.json" for layout, below in LAYOUTS.items()
        }
        found = next((layout for layout, path in documents.items() if tree.exists(path)), None)
        if found is None:
            raise tree.missing(*documents.values(), advice=ADVICE)
        self.layout = found
        self.document_path = documents[found]
        self._labels = f"{folder}/{LAYOUTS[found]}labels"
        categories = Vocabulary.named("mapillary").categories
        document = read_published(
            tree.read(self.document_path),
            place=tree.describe(self.document_path),
            categories=categories,
            image_path=lambda _, file_name: f"{folder}/images/{file_name}",
            labels_path=lambda _, file_name: f"{folder}/{LAYOUTS[found]}panoptic/{file_name}",
        )
        super().__init__(
            tree,
            name="mapillary",
            split=split,
            categories=categories,
            records=document.records,
            tasks=frozenset(("panoptic", "semantic", "instance")),
            advice=ADVICE,
        )
        self.sizes = document.sizes

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Positions in `categories` from the label PNG, whose values they are; the one behind is unlabelled.

        Raises:
            DatasetError: the labels are missing, damaged or hold other values.
        """
        path = f"{self._labels}/{PurePosixPath(record.image).stem}.png"
        place = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), place=place)
        count = len(self.categories)
        table = {position: position for position in range(count)} | {count: IGNORED}
        advice = f"Expected 0 to {count}: labels of v1.2, not of v2.0."
        return positions_of(values, table, place=place, advice=advice)
