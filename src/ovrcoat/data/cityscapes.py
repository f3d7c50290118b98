"""Cityscapes (gtFine) in the layout of its release."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int32

from ovrcoat.choices import Task
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_values, map_values
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.splits import check_split
from ovrcoat.data.truth import IGNORED
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.formats.panoptic_json import PanopticDocument, read_published
from ovrcoat.vocabulary import Vocabulary

HOME = "cityscapes"
SPLITS = ("val", "train")
LABEL_IDS = range(34)  # label ids of the release; ids without a category are not evaluated
UNLABELED = 255  # the license plate's id -1 in 8 bits; "no label" in labelTrainIds
ADVICE = (
    "Download Cityscapes from https://www.cityscapes-dataset.com (registration required): "
    "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip; they need not be unpacked. The release has no "
    "panoptic labels; create them with: ovrcoat prepare cityscapes ROOT"
)
SEMANTIC_ADVICE = "Use labelIds or labelTrainIds of gtFine."


class Cityscapes(PanopticDataset):
    """Cityscapes: 19 categories with the release's label ids 7..33. Images are located by image id.

    `ovrcoat prepare cityscapes` or the official script creates the panoptic files. Without them only the
    semantic ground truth is available.

    Args:
        root: Folder of the datasets, the dataset's own folder, or a zip file.
        split: "val" or "train".

    Raises:
        DatasetError: No labels are found, a file is invalid, or the split does not exist.
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

    def label_files(self, record: Record) -> Sequence[str]:
        """Return the panoptic PNG and both semantic label files."""
        stem = self._semantic_stem(record)
        return tuple(dict.fromkeys((record.labels, f"{stem}_labelTrainIds.png", f"{stem}_labelIds.png")))

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Return positions in `categories` (train ids) from labelTrainIds, or else from labelIds.

        Raises:
            DatasetError: Both are missing, or the file is damaged or holds unexpected values.
        """
        stem = self._semantic_stem(record)
        ids = [category.id for category in self.categories]
        if self.tree.exists(f"{stem}_labelTrainIds.png"):
            path, table = f"{stem}_labelTrainIds.png", {position: position for position in range(len(ids))}
        else:
            path, table = f"{stem}_labelIds.png", dict.fromkeys(LABEL_IDS, IGNORED)
            table |= {id: position for position, id in enumerate(ids)}
        location = self.tree.describe(path)
        values = decode_values(self.tree.read(path, advice=self.advice), location=location)
        return map_values(values, table | {UNLABELED: IGNORED}, location=location, advice=SEMANTIC_ADVICE)

    def _semantic_stem(self, record: Record) -> str:
        return f"gtFine/{self.split}/{city_of(record.image_id)}/{record.image_id}_gtFine"


def city_of(image_id: ImageId) -> str:
    """Return the city of an image, which is its folder and the start of its name."""
    return str(image_id).split("_", 1)[0]


def image_path(image_id: ImageId, *, split: str) -> str:
    """Return the path of an image; the `file_name` in the official JSON does not exist."""
    return f"leftImg8bit/{split}/{city_of(image_id)}/{image_id}_leftImg8bit.png"


def _read(tree: FileTree, path: str, *, split: str) -> PanopticDocument:
    return read_published(
        tree.read(path),
        location=tree.describe(path),
        categories=Vocabulary.named("cityscapes").categories,
        image_path=lambda image_id, _: image_path(image_id, split=split),
        labels_path=lambda _, file_name: f"gtFine/cityscapes_panoptic_{split}/{file_name}",
    )
