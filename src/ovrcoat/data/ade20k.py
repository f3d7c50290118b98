"""ADE20K with 150 categories (SceneParse150, ADEChallengeData2016), in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Task
from ovrcoat.data.ade20k_instances import instance_annotations, thing_entries
from ovrcoat.data.coco import select_instances
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_channels, decode_values, positions_of
from ovrcoat.data.panoptic_dataset import PanopticDataset, image_entry
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import PanopticDocument, parse_json, read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "ADEChallengeData2016"
FOLDERS = {"val": "validation", "train": "training"}
CATEGORY_COUNT = 150
ADVICE = (
    "ADE20K is at https://sceneparsing.csail.mit.edu: ADEChallengeData2016.zip, and annotations_instance.tar "
    "of the Places Challenge 2017, which has to be unpacked beside annotations/ (tar xf "
    "annotations_instance.tar). Panoptic labels are not part of the release; make them with: "
    "ovrcoat prepare ade20k ROOT"
)
SEMANTIC_ADVICE = f"Expected 0 (other) and 1 to {CATEGORY_COUNT}; take the labels of ADEChallengeData2016."


class Ade20k(PanopticDataset):
    """150 categories with ids 0..149, 100 of them things.

    Without the panoptic files, which `ovrcoat prepare ade20k` makes, only the semantic truth is there, and
    the instances if the release's instance labels are.

    Raises:
        DatasetError: no labels are found, a file is faulty, or there is no such split.
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

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Positions in `categories` from the semantic labels, not from the panoptic ones, as published.

        Raises:
            DatasetError: the labels are missing, damaged or hold other values.
        """
        stem = PurePosixPath(record.image).stem
        path, first = f"annotations/{self._folder}/{stem}.png", 1
        converted = f"annotations_detectron2/{self._folder}/{stem}.png"
        if not self.tree.exists(path) and self.tree.exists(converted):
            path, first = converted, 0
        place = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), place=place)
        table = {first + position: position for position in range(CATEGORY_COUNT)}
        table[255 if first == 0 else 0] = IGNORED
        return positions_of(values, table, place=place, advice=SEMANTIC_ADVICE)

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """From ade20k_instance_*.json, or made from the release's instance labels.

        Raises:
            DatasetError: neither is there, or a file is faulty.
            MissingExtraError: masks have to be made and pycocotools is not installed.
        """
        if self.tree.exists(self._instances_path):
            place = self.tree.describe(self._instances_path)
            return select_instances(
                parse_json(self.tree.read(self._instances_path), place=place), records, place=place
            )
        images, annotations = [], list[dict[str, Any]]()
        for record in records:
            path = self._instance_labels(record)
            place = self.tree.describe(path)
            labels = decode_channels(self.tree.read(path, advice=self.advice), place=place)
            images.append(image_entry(record, height=labels.shape[0], width=labels.shape[1]))
            annotations += instance_annotations(
                labels, image_id=record.image_id, first_id=len(annotations) + 1, place=place
            )
        return {"images": images, "annotations": annotations, "categories": thing_entries()}

    def _read(self, tree: FileTree, split: str) -> PanopticDocument:
        return read_published(
            tree.read(self.document_path),
            place=tree.describe(self.document_path),
            categories=Vocabulary.named("ade20k").categories,
            image_path=lambda _, file_name: f"images/{self._folder}/{file_name}",
            labels_path=lambda _, file_name: f"ade20k_panoptic_{split}/{file_name}",
        )

    def _record(self, stem: str, labels: str) -> Record:
        return Record(stem, image=f"images/{self._folder}/{stem}.jpg", labels=labels)

    def _instance_labels(self, record: Record) -> str:
        return f"annotations_instance/{self._folder}/{PurePosixPath(record.image).stem}.png"
