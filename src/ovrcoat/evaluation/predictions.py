"""Saves predictions in COCO's panoptic format, one folder per γ; `ovrcoat score` reads them.

FOLDER/trust-0.5/panoptic.json uses the image ids and categories of the dataset, and its id PNGs are in
FOLDER/trust-0.5/panoptic/. The JSON document is written when all images are finished. Until then, its entries
are in FOLDER/trust-0.5/annotations.jsonl.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Int32
from pydantic import BaseModel, ConfigDict

from ovrcoat.choices import Trust
from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import OutputError
from ovrcoat.evaluation.journal import Journal, JournalLine
from ovrcoat.evaluation.reports.report import trust_key
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.formats.coco_document import CocoDocumentWriter
from ovrcoat.formats.panoptic_png import write_id_png
from ovrcoat.results.coco import document_head
from ovrcoat.results.segment import BBox, Segment
from ovrcoat.system.atomic_write import remove_leftovers, write_output


class _CocoEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageInfo(_CocoEntry):
    """Entry of `images` in COCO's panoptic format; sizes in pixels."""

    id: ImageId
    file_name: str
    height: int
    width: int


class SegmentInfo(_CocoEntry):
    """Entry of `segments_info` in COCO's panoptic format, with the segment's score (0..1)."""

    id: int
    category_id: int
    area: int
    bbox: BBox
    iscrowd: int
    score: float


class Annotation(_CocoEntry):
    """Entry of `annotations` in COCO's panoptic format."""

    image_id: ImageId
    file_name: str
    segments_info: tuple[SegmentInfo, ...]


class SavedPrediction(JournalLine):
    """Journal entry of one image whose prediction is saved."""

    image: ImageInfo
    annotation: Annotation


class PredictionFolder:
    """The predictions of one γ.

    Args:
        folder: Folder of the predictions of all γ.
        trust: COAT's γ.
        dataset: The evaluated dataset.
        header: Facts that must be equal for two runs to share the folder.
        done: Images that an earlier run has finished; their predictions must exist.
        overwrite: Start over, whatever the folder contains.

    Raises:
        OutputError: The folder belongs to a different run, lacks an image in `done`, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trust: Trust,
        dataset: Dataset,
        header: Mapping[str, Any],
        done: Collection[ImageId] = (),
        overwrite: bool = False,
    ) -> None:
        self.folder = folder / f"trust-{trust_key(trust)}"
        self.document_path = self.folder / "panoptic.json"
        self._overwrite = overwrite
        self._png_folder = self.folder / "panoptic"
        self._document_head = document_head(dataset.categories)
        self._png_names = png_names(dataset.records)
        self._header = {"predictions": trust_key(trust), **header}
        self._journal = self._open_journal(overwrite=overwrite)
        saved = {entry.image.id for entry in self._journal.entries()}
        if missing := [image_id for image_id in done if image_id not in saved]:
            self._journal.close()
            raise OutputError(
                f"{self.folder} lacks the predictions of {len(missing)} images that are already evaluated, "
                f"for example {missing[0]!r}: pass the folder of the earlier run, pass none, or start over "
                "with --overwrite (overwrite=True)"
            )
        for path in (self.folder, self._png_folder):
            remove_leftovers(path)
        try:
            self._png_folder.mkdir(exist_ok=True)
            self.document_path.unlink(missing_ok=True)  # the document is either complete or missing
        except OSError as error:
            self._journal.close()
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def add(
        self, record: Record, id_map: Int32[np.ndarray, "height width"], *, segments: Sequence[Segment]
    ) -> None:
        """Save the prediction of one image.

        Raises:
            OutputError: A file cannot be written.
        """
        png_name = self._png_names[record.image_id]
        write_output(
            self._png_folder / png_name, lambda file: write_id_png(file, id_map), overwrite=self._overwrite
        )
        height, width = id_map.shape
        self._journal.append(
            SavedPrediction(
                image=ImageInfo(
                    id=record.image_id, file_name=PurePath(record.image).name, height=height, width=width
                ),
                annotation=Annotation(
                    image_id=record.image_id,
                    file_name=png_name,
                    segments_info=tuple(map(_segment_info, segments)),
                ),
            )
        )

    def __enter__(self) -> "PredictionFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal; a later run can resume with the folder."""
        self._journal.close()

    def complete(self, image_ids: Collection[ImageId]) -> None:
        """Write the JSON document of these images and close the folder.

        Raises:
            OutputError: The document cannot be written, or a PNG is missing.
        """
        self.close()
        with self._open_journal() as journal:
            document = CocoDocumentWriter(self.document_path, head=self._document_head)
            images: list[dict[str, Any]] = []
            try:
                for entry in _last_entries(journal, frozenset(image_ids)):
                    png = self._png_folder / entry.annotation.file_name
                    if not png.is_file():
                        raise OutputError(f"{png} is missing; start over with --overwrite (overwrite=True)")
                    document.append(entry.annotation.model_dump(mode="json"))
                    images.append(entry.image.model_dump(mode="json"))
                document.finish(images)
            finally:
                document.discard()

    def _open_journal(self, *, overwrite: bool = False) -> Journal[SavedPrediction]:
        return Journal(
            self.folder / "annotations.jsonl",
            self._header,
            entry_type=SavedPrediction,
            overwrite=overwrite,
        )


def _last_entries(
    journal: Journal[SavedPrediction], image_ids: frozenset[ImageId]
) -> Iterator[SavedPrediction]:
    """Yield the saved images in `image_ids` once each.

    An image can have been saved several times, if a run was killed or the image has changed. Its last entry
    describes the PNG.
    """
    last = {entry.image.id: number for number, entry in enumerate(journal.entries())}
    for number, entry in enumerate(journal.entries()):
        if entry.image.id in image_ids and number == last[entry.image.id]:
            yield entry


def png_names(records: Sequence[Record]) -> dict[ImageId, str]:
    """Return the name of each image's id PNG: the name of its labels, or of the image if images share labels.

    A name that is not unique is prefixed by a number.
    """
    shares_labels = len({record.labels for record in records}) < len(records)
    stems = [PurePath(record.image if shares_labels else record.labels).stem for record in records]
    count = Counter(stem.casefold() for stem in stems)
    return {
        record.image_id: f"{stem}.png" if count[stem.casefold()] == 1 else f"{number:07d}-{stem}.png"
        for number, (record, stem) in enumerate(zip(records, stems, strict=True))
    }


def _segment_info(segment: Segment) -> SegmentInfo:
    return SegmentInfo(
        id=segment.id,
        category_id=segment.category_id,
        area=segment.area,
        bbox=segment.bbox,
        iscrowd=0,
        score=segment.score,
    )
