"""Predictions on disk in COCO's panoptic form, one folder per γ: what `ovrcoat score` reads.

FOLDER/trust-0.5/panoptic.json with the data set's own image ids and categories, and its id PNGs in
FOLDER/trust-0.5/panoptic/. The JSON is written when all images are there; until then
FOLDER/trust-0.5/annotations.jsonl holds what will be in it.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import OutputError
from ovrcoat.evaluation.journal import Journal
from ovrcoat.evaluation.reports.report import trust_key
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.results.coco import document_head, id_image
from ovrcoat.results.segment import Segment
from ovrcoat.system.atomic_write import write_atomically

SEGMENT_KEYS = ("id", "category_id", "area", "bbox", "iscrowd", "score")


class PredictionFolder:
    """The predictions of one γ.

    `header` is the run's: a folder of another run is refused. `done` are the images that an earlier run has
    evaluated.

    Raises:
        OutputError: the folder belongs to another run, lacks a photo of `done`, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trust: float | int | str,
        dataset: Dataset,
        header: Mapping[str, Any],
        done: Collection[ImageId] = (),
        overwrite: bool = False,
    ) -> None:
        self.folder = folder / f"trust-{trust_key(trust)}"
        self.document_path = self.folder / "panoptic.json"
        self._pictures = self.folder / "panoptic"
        self._head = document_head(dataset.categories)
        self._file_names = picture_names(dataset.records)
        self._header = {"predictions": trust_key(trust), **header}
        self._journal = Journal(self.folder / "annotations.jsonl", self._header, overwrite=overwrite)
        saved = {entry["image"]["id"] for entry in self._journal.entries()}
        if missing := [image_id for image_id in done if image_id not in saved]:
            self._journal.close()
            raise OutputError(
                f"{self.folder} lacks {len(missing)} images that are evaluated already, e.g. {missing[0]!r}: "
                "give the folder of the earlier run, none, or start anew with --overwrite (overwrite=True)"
            )
        try:
            self._pictures.mkdir(exist_ok=True)
            self.document_path.unlink(missing_ok=True)  # it is complete or not there
        except OSError as error:
            self._journal.close()
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def add(
        self, record: Record, id_map: Int32[np.ndarray, "height width"], *, segments: Sequence[Segment]
    ) -> None:
        """Write the prediction of one image.

        Raises:
            OutputError: a file cannot be written.
        """
        name = self._file_names[record.image_id]
        write_atomically(self._pictures / name, lambda file: id_image(id_map).save(file, format="PNG"))
        height, width = id_map.shape
        infos = [segment.to_coco() for segment in segments]
        self._journal.append(
            {
                "image": {
                    "id": record.image_id,
                    "file_name": PurePath(record.image).name,
                    "height": height,
                    "width": width,
                },
                "annotation": {
                    "image_id": record.image_id,
                    "file_name": name,
                    "segments_info": [{key: info[key] for key in SEGMENT_KEYS} for info in infos],
                },
            }
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
        """Stop writing; what is there stays for the next run."""
        self._journal.close()

    def complete(self, image_ids: Collection[ImageId]) -> None:
        """Write the JSON document of these photos.

        Raises:
            OutputError: it cannot be written, or a picture is gone.
        """
        self.close()
        write_atomically(self.document_path, lambda file: self._write_document(file, frozenset(image_ids)))

    def _write_document(self, file: IO[bytes], image_ids: frozenset[ImageId]) -> None:
        file.write(json.dumps(self._head, ensure_ascii=False)[:-1].encode() + b', "annotations": [')
        images: list[dict[str, Any]] = []
        for entry in self._entries(image_ids):
            name = entry["annotation"]["file_name"]
            if not (self._pictures / name).is_file():
                raise OutputError(f"{self._pictures / name} is gone; start anew with --overwrite")
            file.write(b",\n" if images else b"\n")
            file.write(json.dumps(entry["annotation"]).encode())
            images.append(entry["image"])
        file.write(b'\n], "images": ' + json.dumps(images).encode() + b"}\n")

    def _entries(self, image_ids: frozenset[ImageId]) -> Iterator[dict[str, Any]]:
        """The saved images among `image_ids`, each once: a killed run may have left one of them twice."""
        told = set()
        with Journal(self.folder / "annotations.jsonl", self._header) as journal:
            for entry in journal.entries():
                image_id = entry["image"]["id"]
                if image_id in image_ids and image_id not in told:
                    told.add(image_id)
                    yield entry


def picture_names(records: Sequence[Record]) -> dict[ImageId, str]:
    """The name of each image's id PNG: that of its labels, with its number in front if two are equal."""
    stems = [PurePath(record.labels).stem for record in records]
    count = Counter(stem.casefold() for stem in stems)
    return {
        record.image_id: f"{stem}.png" if count[stem.casefold()] == 1 else f"{number:07d}-{stem}.png"
        for number, (record, stem) in enumerate(zip(records, stems, strict=True))
    }
