"""COCO annotations with RLE masks, one document per run; also in the place where CVAT looks for them."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ovrcoat.results.coco import document_head, encode_mask
from ovrcoat.results.exports.category_maps import category_positions
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, LabeledResult, OutputFile
from ovrcoat.results.run_document import RunDocument, read_run_document, recover
from ovrcoat.results.segment import Segment
from ovrcoat.system.atomic_write import check_replaceable, make_folder
from ovrcoat.vocabulary import Category

IDS_PER_IMAGE = 100_000  # annotation ids are unique in the document: image id × this + segment id


class CocoInstances(Exporter):
    """`instances.json`: like COCO's ground truth, with additional keys. Stuff is written like things."""

    document_name: ClassVar[str] = "instances.json"

    def __init__(
        self, folder: Path, categories: Sequence[Category], *, overwrite: bool, kept: Collection[str]
    ) -> None:
        super().__init__(folder, categories, overwrite=overwrite, kept=kept)
        self.path = folder / self.document_name
        make_folder(self.path.parent)
        recover(self.path)
        check_replaceable(self.path, overwrite=overwrite)
        self._earlier: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        if kept and self.path.exists():
            self._read_earlier()
        self._document: RunDocument | None = None  # until the first image: a run that fails replaces nothing

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return nothing: there is one document per run."""
        return ()

    def append(self, image: ExportedImage) -> tuple[Path, ...]:
        """Add the image's annotations to the document."""
        result, image_id = image.result, image.entry["id"]
        annotations = [self._annotation(segment, result, image_id=image_id) for segment in result.segments]
        self._opened().add(dict(image.entry), annotations)
        self._earlier.pop(image.stem, None)
        return (self.path,)

    def has(self, stem: str) -> bool:
        """Return whether the document of an earlier run holds an image."""
        return stem in self._earlier

    def close(self, *, interrupted: bool) -> None:
        """Complete the document, with the images of earlier runs that stay."""
        if self._document is None and interrupted:
            return
        document = self._opened()
        try:
            for image, annotations in self._earlier.values():
                document.add(image, annotations)
        finally:
            document.close(interrupted=interrupted)

    def _opened(self) -> RunDocument:
        if self._document is None:
            self._document = RunDocument(self.path, self._head(), settings={})
        return self._document

    def _annotation(self, segment: Segment, result: LabeledResult, *, image_id: int) -> dict[str, Any]:
        return segment.to_coco() | {
            "id": image_id * IDS_PER_IMAGE + segment.id,
            "image_id": image_id,
            "segment_id": segment.id,
            "category_id": self._category_id(segment),
            "segmentation": encode_mask(result.mask(segment.id)),
        }

    def _head(self) -> dict[str, Any]:
        """Return the first entries of the document: what wrote it, and the categories."""
        return document_head(self.categories)

    def _category_id(self, segment: Segment) -> int:
        """Return the id of a segment's category in the document."""
        return segment.category_id

    def _read_earlier(self) -> None:
        document = read_run_document(self.path)
        annotations: dict[int, list[dict[str, Any]]] = {}
        for annotation in document["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        self._earlier = {
            image["output"]: (image, annotations.get(image["id"], []))
            for image in document["images"]
            if image["output"] in self.kept
        }


class Cvat(CocoInstances):
    """`annotations/instances_default.json`, the path in CVAT's format "COCO 1.0".

    CVAT finds labels by name. It takes the category id 0 for no label, and supercategories for parents of
    labels, so categories are numbered from 1 and have no supercategory.
    """

    document_name: ClassVar[str] = "annotations/instances_default.json"

    def _head(self) -> dict[str, Any]:
        head = super()._head()
        for number, category in enumerate(head["categories"], start=1):
            category.update(id=number, supercategory="")
        return head

    def _category_id(self, segment: Segment) -> int:
        return 1 + category_positions(self.categories)[segment.category_id]
