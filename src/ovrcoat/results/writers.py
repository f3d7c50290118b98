"""Results → files: id PNG, overlay, and one JSON document for the whole run.

Every file appears whole or not at all: it is written beside its place under another name, then moved there.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Any, TypeVar
from uuid import uuid4

from PIL import Image, PngImagePlugin

from ovrcoat.errors import OutputError
from ovrcoat.results.coco import DESCRIPTION, UNNAMED, document_head, file_stem, id_image, image_entry
from ovrcoat.results.result import Result
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.system.prefetch import write_behind
from ovrcoat.vocabulary import Category

AnyResult = TypeVar("AnyResult", bound=Result)

DOCUMENTS = {"panoptic": "panoptic.json", "semantic": "semantic.json", "instance": "instances.json"}
SIGNATURE = ("Software", "ovrcoat")  # text chunk of our PNGs: tells them from the user's own pictures
JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # pixels, the most that the JPEG library takes
BEHIND = 4  # results that may wait to be written
BEHIND_BYTES = 256 * 2**20  # and what they may take; one of 12 megapixels takes 84 MB
LOSS_ADVICE = "Choose another output folder, or allow overwriting if it may be lost."


class RunWriter:
    """Writes the results of a run into a folder, one by one, in bounded memory.

    Per image NAME.png (panoptic and semantic ids, R + 256 G + 65536 B) and, if the result has its image,
    NAME.overlay.jpg; for the run one of `DOCUMENTS` in COCO's format, complete when the writer is closed, by
    an exception too. A second photo of the same name becomes NAME-2. With `resume` the images of an earlier
    run stay in the document, except that a photo of the same name replaces itself.

    Attributes:
        document_path: where the run's JSON will be.

    Raises:
        OutputError: the folder cannot be made or written; a document or picture of others lies in the way and
            `overwrite` is False; with `resume`, the folder's document has other categories.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        task: str,
        categories: Sequence[Category],
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.document_path = self.folder / DOCUMENTS[task]
        self._overwrite = overwrite
        self._head = document_head(categories)
        _make_folder(self.folder)
        self._earlier: dict[str, Any] = {"images": [], "annotations": []}
        if self.document_path.exists() and not overwrite:
            self._earlier |= self._read_document(resume=resume)
        self._images: list[dict[str, Any]] = []
        self._stems = {entry["output"].casefold() for entry in self._earlier["images"]}
        self._earlier_stems = {entry["file_name"]: entry["output"] for entry in self._earlier["images"]}
        self._next_id = 1 + max((entry["id"] for entry in self._earlier["images"]), default=0)
        # annotations go to disk at once: a run may have more of them than memory
        self._part_path = self.folder / f".{uuid4().hex}.part"
        try:
            self._part = self._part_path.open("x", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.document_path, error) from error
        self._append(json.dumps(self._head, ensure_ascii=False)[:-1] + ', "annotations": [')
        self._separator = "\n"
        self._lock = threading.Lock()  # an image that another thread writes is completed before the document

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add_all(
        self,
        results: Iterable[AnyResult],
        *,
        tell: Callable[[AnyResult, tuple[Path, ...]], object] = lambda result, paths: None,
    ) -> None:
        """Add result after result: another thread writes one while the next one is made here.

        `tell(result, paths)` is called here, in order, when the files of a result are written. Should
        `results` end by an error, by Ctrl-C say, what it gave before is still written and told.

        Raises:
            OutputError, MissingExtraError: as for `add`; nothing behind that result is written.
        """
        write_behind(
            results,
            lambda result: (result, self.add(result)),
            name="write-behind",
            tell=lambda written: tell(*written),
            most=BEHIND,
            size_of=_memory,
            most_bytes=BEHIND_BYTES,
        )

    def add(self, result: Result) -> tuple[Path, ...]:
        """Write the files of one image and return their paths.

        Raises:
            OutputError: a file cannot be written, or a picture of the user's would be lost.
            MissingExtraError: instances need pycocotools, which is not installed.
        """
        with self._lock:
            return self._add(result)

    def _add(self, result: Result) -> tuple[Path, ...]:
        name = PurePath(result.name or UNNAMED).name
        # the image replaces itself if it is in an earlier run's document, and nothing else
        stem = self._earlier_stems.pop(name, None) or file_stem(name, taken=self._stems)
        image_id = self._next_id
        written = []
        if result.task == "instance":
            annotations = result.to_coco(image_id=image_id)
        else:
            annotations = [result.to_coco(image_id=image_id) | {"file_name": f"{stem}.png"}]
            written.append(self._write_ids(result, self.folder / f"{stem}.png"))
        if result.image is not None:
            overlay = self.folder / f"{stem}.overlay.jpg"
            write_atomically(overlay, lambda file: _save_overlay(result, file))
            written.append(overlay)
        self._append_annotations(annotations)
        self._images.append(image_entry(name, image_id=image_id, size=result.size) | {"output": stem})
        self._stems.add(stem.casefold())
        self._next_id += 1
        return tuple(written)

    def close(self) -> None:
        """Complete the run's document; what was added so far is in it.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            if not self._part.closed:
                self._close()

    def _close(self) -> None:
        outputs = {entry["output"] for entry in self._images}
        kept = [entry for entry in self._earlier["images"] if entry["output"] not in outputs]
        kept_ids = {entry["id"] for entry in kept}
        try:
            self._append_annotations(
                [entry for entry in self._earlier["annotations"] if entry["image_id"] in kept_ids]
            )
            self._append('\n], "images": ' + json.dumps(kept + self._images, ensure_ascii=False) + "}\n")
            self._part.close()
            self._part_path.replace(self.document_path)
        except OSError as error:
            raise cannot_write(self.document_path, error) from error
        finally:
            self._part.close()
            self._part_path.unlink(missing_ok=True)

    def _append_annotations(self, annotations: Sequence[dict[str, Any]]) -> None:
        for annotation in annotations:
            self._append(self._separator + json.dumps(annotation, ensure_ascii=False))
            self._separator = ",\n"

    def _append(self, text: str) -> None:
        try:
            self._part.write(text)
        except OSError as error:
            raise cannot_write(self.document_path, error) from error

    def _write_ids(self, result: Result, path: Path) -> Path:
        if path.exists() and not self._overwrite and not _is_ours(path):
            raise OutputError(f"{path} exists and was not written by ovrcoat. {LOSS_ADVICE}")
        text = PngImagePlugin.PngInfo()
        text.add_text(*SIGNATURE)
        write_atomically(path, lambda file: id_image(result.painted()).save(file, format="PNG", pnginfo=text))
        return path

    def _read_document(self, *, resume: bool) -> dict[str, Any]:
        """Look at the document that is there; return what it holds if the run goes on with it."""
        path = self.document_path
        try:
            with path.open(encoding="utf-8") as file:
                ours = DESCRIPTION in file.read(len(DESCRIPTION) + 100)
            document = json.loads(path.read_text(encoding="utf-8")) if ours and resume else {}
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read {path}, which is in the way: {error}. {LOSS_ADVICE}") from error
        if not ours:
            raise OutputError(f"{path} exists and was not written by ovrcoat. {LOSS_ADVICE}")
        if resume and document.get("categories") != self._head["categories"]:
            raise OutputError(f"{path} belongs to another vocabulary. {LOSS_ADVICE}")
        return document


def _memory(result: Result) -> int:
    """Bytes of its image (3 a pixel) and its map (4)."""
    height, width = result.size
    return 7 * height * width


def _save_overlay(result: Result, file: IO[bytes]) -> None:
    drawing = result.draw()
    drawing.thumbnail((JPEG_SIDE, JPEG_SIDE))  # changes nothing but endless strips
    drawing.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)  # 0: crisp borders


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(
            f"cannot write into {folder}: it is a file. Choose another output folder."
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _is_ours(path: Path) -> bool:
    key, value = SIGNATURE
    try:
        with Image.open(path) as picture:
            return picture.info.get(key) == value
    except (OSError, Image.DecompressionBombError):
        return False
