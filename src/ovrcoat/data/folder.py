"""A user's own panoptic data: a folder or zip with images/, panoptic/ and panoptic.json, as COCO has them."""

from ovrcoat.data.files import FileTree
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.formats.panoptic_json import parse_json, read_categories, read_document

DOCUMENT = "panoptic.json"
ADVICE = f"A folder of panoptic labels holds images/, panoptic/ and {DOCUMENT} (docs/datasets.md)."


class PanopticFolderDataset(PanopticDataset):
    """Images below images/, id PNGs below panoptic/, both under the names that panoptic.json gives.

    Raises:
        DatasetError: panoptic.json is missing or faulty.
    """

    def __init__(self, tree: FileTree, *, name: str) -> None:
        data = parse_json(tree.read(DOCUMENT, advice=ADVICE), place=tree.describe(DOCUMENT))
        place = tree.describe(DOCUMENT)
        categories = read_categories(data, place=place)
        document = read_document(
            data,
            place=place,
            category_ids=[category.id for category in categories],
            image_path=lambda _, file_name: f"images/{file_name}",
            labels_path=lambda _, file_name: f"panoptic/{file_name}",
        )
        super().__init__(
            tree,
            name=name,
            split=None,
            categories=categories,
            records=document.records,
            tasks=frozenset(("panoptic", "semantic", "instance")),
            advice=ADVICE,
        )
        self.document_path = DOCUMENT
        self.sizes = document.sizes
