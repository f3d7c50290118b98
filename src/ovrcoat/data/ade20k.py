"""ADE20K with 150 categories (SceneParse150, ADEChallengeData2016) in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.choices import Task
from ovrcoat.data.ade20k_instances import instance_annotations, thing_entries
from ovrcoat.data.files import FileTree
from ovrcoat.data.instances import INSTANCES_FORMAT, image_entry, select_instances
from ovrcoat.data.label_images import decode_channels, decode_values, map_values
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.panoptic_json import PanopticDocument, read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "ADEChallengeData2016"
FOLDERS = {"val": "validation", "train": "training"}
CATEGORY_COUNT = 150
ADVICE = (
    "Download ADE20K from https://sceneparsing.csail.mit.edu: ADEChallengeData2016.zip, and "
    "annotations_instance.tar of the Places Challenge 2017, which must be unpacked next to annotations/ (tar "
    "xf annotations_instance.tar). The release has no panoptic labels; create them with: "
    "ovrcoat prepare ade20k ROOT"
)
SEMANTIC_ADVICE = f"Expected 0 (other) and 1 to {CATEGORY_COUNT}; use the labels of ADEChallengeData2016."


class Ade20k(PanopticDataset):
    """ADE20K: 150 categories with ids 0..149, 100 of them things.

    `ovrcoat prepare ade20k` creates the panoptic files. Without them only the semantic ground truth is
    available, and the instances if the release's instance labels are present.

    Args:
        root: Folder of the datasets, the dataset's own folder, or its zip file.
        split: "val" or "train".

    Raises:
        DatasetError: No labels are found, a file is invalid, or the split does not exist.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, tuple(FOLDERS), name="ade20k")
        tree = FileTree(root, home=HOME)
        self._folder = FOLDERS[split]
        self._instances_path = f"ade20k_instance_{split}.json"
        self.document_path = f"ade20k_panoptic_{split}.json"
        categories = Vocabulary.named("ade20k").categories
        semantic = tree.list(f"annotations/{self._folder}", suffixes=(".png",)) or tree.list(
            f"annotations_detectron2/{self._folder}", suffixes=(".png",)
        )
        tasks: set[Task] = {"semantic"} if semantic else set()
        self.sizes = {}
        if tree.exists(self.document_path):
            document = self._read(tree, split)
            records: Sequence[Record] = document.records
            self.sizes = document.sizes
            tasks.add("panoptic")
        elif semantic:
            records = tuple(self._record(PurePosixPath(path).stem, path) for path in semantic)
        else:
            raise tree.missing(self.document_path, f"annotations/{self._folder}/", advice=ADVICE)
        if tree.exists(self._instances_path) or tree.exists(self._instance_labels(records[0])):
            tasks.add("instance")
        super().__init__(
            tree,
            name="ade20k",
            split=split,
            categories=categories,
            records=records,
            tasks=frozenset(tasks),
            advice=ADVICE,
        )

    def label_files(self, record: Record) -> Sequence[str]:
        """Return the panoptic PNG, the semantic label files and the instance labels."""
        files = (record.labels, *self._semantic_labels(record), self._instance_labels(record))
        return tuple(dict.fromkeys(files))

    def documents(self) -> Sequence[str]:
        """Return the path of the instances JSON."""
        return (self._instances_path,)

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Return positions in `categories`, read from the semantic labels as in published results.

        Raises:
            DatasetError: The labels are missing, damaged or hold unexpected values.
        """
        path, converted = self._semantic_labels(record)
        first_value = 1
        if not self.tree.exists(path) and self.tree.exists(converted):
            path, first_value = converted, 0
        location = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), location=location)
        table = {first_value + position: position for position in range(CATEGORY_COUNT)}
        table[255 if first_value == 0 else 0] = IGNORED
        return map_values(values, table, location=location, advice=SEMANTIC_ADVICE)

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Return instances from ade20k_instance_*.json, or convert the release's instance labels.

        Raises:
            DatasetError: Both are missing, or a file is invalid.
            MissingExtraError: The labels must be converted and pycocotools is not installed.
        """
        if self.tree.exists(self._instances_path):
            location = self.tree.describe(self._instances_path)
            content = self.tree.read(self._instances_path)
            data = parse_json_object(content, location=location, expected=INSTANCES_FORMAT)
            return select_instances(data, records, location=location)
        images, annotations = [], list[dict[str, Any]]()
        for record in records:
            path = self._instance_labels(record)
            location = self.tree.describe(path)
            labels = decode_channels(self.tree.read(path, advice=self.advice), location=location)
            images.append(image_entry(record, height=labels.shape[0], width=labels.shape[1]))
            annotations += instance_annotations(
                labels, image_id=record.image_id, first_id=len(annotations) + 1, location=location
            )
        return {"images": images, "annotations": annotations, "categories": thing_entries()}

    def _read(self, tree: FileTree, split: str) -> PanopticDocument:
        return read_published(
            tree.read(self.document_path),
            location=tree.describe(self.document_path),
            categories=Vocabulary.named("ade20k").categories,
            image_path=lambda _, file_name: f"images/{self._folder}/{file_name}",
            labels_path=lambda _, file_name: f"ade20k_panoptic_{split}/{file_name}",
        )

    def _record(self, stem: str, labels: str) -> Record:
        return Record(stem, image=f"images/{self._folder}/{stem}.jpg", labels=labels)

    def _instance_labels(self, record: Record) -> str:
        return f"annotations_instance/{self._folder}/{PurePosixPath(record.image).stem}.png"

    def _semantic_labels(self, record: Record) -> tuple[str, str]:
        """Return the paths in the release and in detectron2's conversion, of which either may exist."""
        stem = PurePosixPath(record.image).stem
        return (
            f"annotations/{self._folder}/{stem}.png",
            f"annotations_detectron2/{self._folder}/{stem}.png",
        )
