"""A user's own panoptic dataset: a folder or zip file with images/, panoptic/ and panoptic.json."""

from ovrcoat.data.files import FileTree
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.panoptic_json import PANOPTIC_FORMAT, read_categories, read_document
from ovrcoat.issues import IssueList

DOCUMENT = "panoptic.json"
ADVICE = f"A panoptic dataset consists of images/, panoptic/ and {DOCUMENT} (docs/datasets.md)."


class PanopticFolderDataset(PanopticDataset):
    """Images below images/ and panoptic PNGs below panoptic/, with the file names stated in panoptic.json.

    Raises:
        DatasetError: panoptic.json is missing or invalid.
    """

    def __init__(self, tree: FileTree, *, name: str) -> None:
        location = tree.describe(DOCUMENT)
        content = tree.read(DOCUMENT, advice=ADVICE)
        data = parse_json_object(content, location=location, expected=PANOPTIC_FORMAT)
        issues = IssueList()
        categories = read_categories(data, location=location, issues=issues)
        document = read_document(
            data,
            location=location,
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
            issues=(*issues, *document.issues),
        )
        self.document_path = DOCUMENT
        self.sizes = document.sizes
