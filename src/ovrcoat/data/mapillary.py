"""Mapillary Vistas v1.2 labels (65 categories), in the layout of that release or inside the v2.0 release."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_values, map_values
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "mapillary_vistas"
FOLDERS = {"val": "validation", "train": "training"}
LAYOUTS = {"v1.2": "", "v1.2 inside v2.0": "v1.2/"}  # name → prefix of labels/ and panoptic/
ADVICE = (
    "Download Mapillary Vistas from https://www.mapillary.com/dataset/vistas (registration required). The "
    "v1.2 labels are needed, which the v2.0 download also contains, below v1.2/; the zip file need not be "
    "unpacked. The v2.0 labels have other categories."
)


class Mapillary(PanopticDataset):
    """Mapillary Vistas: 65 categories with ids 1..65.

    Args:
        root: Folder of the datasets, the dataset's own folder, or its zip file.
        split: "val" or "train".

    Attributes:
        layout: Where the labels were found: "v1.2" (validation/labels) or "v1.2 inside v2.0"
            (validation/v1.2/labels).

    Raises:
        DatasetError: A file is missing or invalid, or the split does not exist.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, tuple(FOLDERS), name="mapillary")
        tree = FileTree(root, home=HOME)
        folder = FOLDERS[split]
        documents = {
            layout: f"{folder}/{prefix}panoptic/panoptic_2018.json" for layout, prefix in LAYOUTS.items()
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
            location=tree.describe(self.document_path),
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
            issues=document.issues,
        )
        self.sizes = document.sizes

    def label_files(self, record: Record) -> Sequence[str]:
        """Return the panoptic PNG and the semantic label file."""
        return (record.labels, self._semantic_labels(record))

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Return positions in `categories`, which are the values of the label PNG; 65 means unlabeled.

        Raises:
            DatasetError: The labels are missing, damaged or hold unexpected values.
        """
        path = self._semantic_labels(record)
        location = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), location=location)
        count = len(self.categories)
        table = {position: position for position in range(count)} | {count: IGNORED}
        advice = f"Expected 0 to {count}: use the labels of v1.2, not v2.0."
        return map_values(values, table, location=location, advice=advice)

    def _semantic_labels(self, record: Record) -> str:
        return f"{self._labels}/{PurePosixPath(record.image).stem}.png"
