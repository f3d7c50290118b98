"""Cityscapes (gtFine), in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Task
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_values, positions_of
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.formats.panoptic_json import PanopticDocument, read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "cityscapes"
SPLITS = ("val", "train")
LABEL_IDS = range(34)  # of the release; those that are no category are not evaluated
PLATE = 255  # the licence plate's -1 in 8 bits; also what no label is in labelTrainIds
ADVICE = (
    "Cityscapes is at https://www.cityscapes-dataset.com (registration): leftImg8bit_trainvaltest.zip and "
    "gtFine_trainvaltest.zip; the zip files are read as they are. Panoptic labels are not part of the "
    "release; make them with: ovrcoat prepare cityscapes ROOT"
)
SEMANTIC_ADVICE = "Take labelIds or labelTrainIds of gtFine."


class Cityscapes(PanopticDataset):
    """19 categories with the release's label ids 7..33; images are found by image id.

    Without the panoptic files, which `ovrcoat prepare cityscapes` or the official script makes, only the
    semantic truth is there.

    Raises:
        DatasetError: no labels are found, a file is faulty, or there is no such split.
    """

    def __init__(self, root: Path, split: str = "val") -> None:
        check_split(split, SPLITS, name="cityscapes")
        tree = FileTree(root, home=HOME)
        self.document_path = f"gtFine/cityscapes_panoptic_{split}.json"
        categories = Vocabulary.named("cityscapes").categories
        semantic = tree.list(
            f"gtFine/{split}", suffixes=("_gtfine_labelids.png", "_gtfine_labeltrainids.png")
        )
        tasks: set[Task] = {"semantic"} if semantic else set()
        self.sizes = {}
        if tree.exists(self.document_path):
            document = _read(tree, self.document_path, split=split)
            records: Sequence[Record] = document.records
            self.sizes = document.sizes
            tasks |= {"panoptic", "instance"}
        elif semantic:
            labels_of = {PurePosixPath(path).name.split("_gtFine_")[0]: path for path in semantic}
            records = tuple(
                Record(image_id, image=image_path(image_id, split=split), labels=path)
                for image_id, path in labels_of.items()
            )
        else:
            raise tree.missing(self.document_path, f"gtFine/{split}/", advice=ADVICE)
        super().__init__(
            tree,
            name="cityscapes",
            split=split,
            categories=categories,
            records=records,
            tasks=frozenset(tasks),
            advice=ADVICE,
        )

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Positions in `categories` (train ids), from labelTrainIds, or from labelIds where that is missing.

        Raises:
            DatasetError: both are missing, or one is damaged or holds other values.
        """
        stem = f"gtFine/{self.split}/{city_of(record.image_id)}/{record.image_id}_gtFine"
        ids = [category.id for category in self.categories]
        if self.tree.exists(f"{stem}_labelTrainIds.png"):
            path, table = f"{stem}_labelTrainIds.png", {position: position for position in range(len(ids))}
        else:
            path, table = f"{stem}_labelIds.png", dict.fromkeys(LABEL_IDS, IGNORED)
            table |= {id: position for position, id in enumerate(ids)}
        place = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), place=place)
        return positions_of(values, table | {PLATE: IGNORED}, place=place, advice=SEMANTIC_ADVICE)


def city_of(image_id: ImageId) -> str:
    """The folder of an image: its name begins with the city."""
    return str(image_id).split("_", 1)[0]


def image_path(image_id: ImageId, *, split: str) -> str:
    """Where an image is; the `file_name` of the official JSON is that of no file."""
    return f"leftImg8bit/{split}/{city_of(image_id)}/{image_id}_leftImg8bit.png"


def _read(tree: FileTree, path: str, *, split: str) -> PanopticDocument:
    return read_published(
        tree.read(path),
        place=tree.describe(path),
        categories=Vocabulary.named("cityscapes").categories,
        image_path=lambda image_id, _: image_path(image_id, split=split),
        labels_path=lambda _, file_name: f"gtFine/cityscapes_panoptic_{split}/{file_name}",
    )
