"""Write results to files: id PNG, overlay, and one JSON document for the whole run.

Every file is written atomically: under a temporary name next to its final place, then moved there.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image, PngImagePlugin

from ovrcoat.errors import OutputError
from ovrcoat.formats.coco_document import CocoDocumentWriter
from ovrcoat.formats.panoptic_png import id_map_to_image
from ovrcoat.results.coco import DESCRIPTION, UNNAMED, document_head, file_stem, image_entry
from ovrcoat.structures import Size
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.system.prefetch import write_behind
from ovrcoat.vocabulary import Category


@runtime_checkable
class WritableResult(Protocol):
    """The part of a result that the writer needs."""

    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str | None: ...  # noqa: D102
    @property
    def size(self) -> Size: ...  # noqa: D102
    @property
    def image(self) -> UInt8[np.ndarray, "height width 3"] | None: ...  # noqa: D102
    def segment_map(self) -> Int32[np.ndarray, "height width"]: ...  # noqa: D102
    def to_coco(self, *, image_id: int = 1) -> Any: ...  # noqa: D102
    def draw(self) -> Image.Image: ...  # noqa: D102


AnyResult = TypeVar("AnyResult", bound=WritableResult)

DOCUMENTS = {"panoptic": "panoptic.json", "semantic": "semantic.json", "instance": "instances.json"}
SIGNATURE = ("Software", "ovrcoat")  # text chunk that identifies our PNGs
JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # pixels: the limit of the JPEG library
MAX_WAITING = 4  # results that may wait to be written
MAX_WAITING_BYTES = 256 * 2**20  # a result of 12 megapixels takes 84 MB
LOSS_ADVICE = "Choose another output folder, or allow overwriting if the file is not needed."


class RunWriter:
    """Writes the results of a run into a folder, one by one, in bounded memory.

    Each image gets NAME.png (panoptic and semantic ids, R + 256 G + 65536 B) and, if the result has its
    image, NAME.overlay.jpg. A second image of the same name becomes NAME-2. The run gets one of `DOCUMENTS`
    in COCO's format, which is completed when the writer is closed, also after an error.

    Args:
        folder: created if it does not exist.
        task: the task of all results.
        categories: the vocabulary's categories.
        overwrite: replace files that this package did not write, and start a new document.
        resume: keep the images of an earlier run in the document, except those that are written again.

    Attributes:
        document_path: path of the run's JSON document.

    Raises:
        OutputError: the folder cannot be created or written; it holds a document or PNG of another program,
            and `overwrite` is False; or, with `resume`, its document has other categories.
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
        self._document = CocoDocumentWriter(self.document_path, head=self._head)
        self._lock = threading.Lock()  # the document waits for an image that another thread is writing

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
        on_written: Callable[[AnyResult, tuple[Path, ...]], object] = lambda result, paths: None,
    ) -> None:
        """Add many results; a background thread writes one while the caller's thread computes the next one.

        If `results` ends with an error, for example on Ctrl-C, the results so far are still written.

        Args:
            results: iterated in the caller's thread.
            on_written: called in the caller's thread, in order, with each result and the paths of its files.

        Raises:
            OutputError, MissingExtraError: as for `add`; later results are not written.
        """
        write_behind(
            results,
            lambda result: (result, self.add(result)),
            name="write-behind",
            on_result=lambda written: on_written(*written),
            max_items=MAX_WAITING,
            size_of=_nbytes,
            max_bytes=MAX_WAITING_BYTES,
        )

    def add(self, result: WritableResult) -> tuple[Path, ...]:
        """Write the files of one image and return their paths.

        Raises:
            OutputError: a file cannot be written, or a file of another program would be replaced.
            MissingExtraError: the task is "instance" and pycocotools is not installed.
        """
        with self._lock:
            return self._add(result)

    def _add(self, result: WritableResult) -> tuple[Path, ...]:
        name = PurePath(result.name or UNNAMED).name
        # an image of an earlier run replaces its own files only
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
        """Complete the run's document with the results so far.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            if self._document.is_open:
                self._close()

    def _close(self) -> None:
        outputs = {entry["output"] for entry in self._images}
        kept = [entry for entry in self._earlier["images"] if entry["output"] not in outputs]
        kept_ids = {entry["id"] for entry in kept}
        try:
            self._append_annotations(
                [entry for entry in self._earlier["annotations"] if entry["image_id"] in kept_ids]
            )
            self._document.finish(kept + self._images)
        finally:
            self._document.discard()

    def _append_annotations(self, annotations: Sequence[dict[str, Any]]) -> None:
        for annotation in annotations:
            self._document.append(annotation)

    def _write_ids(self, result: WritableResult, path: Path) -> Path:
        if path.exists() and not self._overwrite and not _is_ours(path):
            raise OutputError(f"{path} exists and was not written by ovrcoat. {LOSS_ADVICE}")
        text = PngImagePlugin.PngInfo()
        text.add_text(*SIGNATURE)
        write_atomically(
            path, lambda file: id_map_to_image(result.segment_map()).save(file, format="PNG", pnginfo=text)
        )
        return path

    def _read_document(self, *, resume: bool) -> dict[str, Any]:
        """Check the existing document; return its contents if the run continues it."""
        path = self.document_path
        try:
            with path.open(encoding="utf-8") as file:
                ours = DESCRIPTION in file.read(len(DESCRIPTION) + 100)
            document = json.loads(path.read_text(encoding="utf-8")) if ours and resume else {}
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read the existing file {path}: {error}. {LOSS_ADVICE}") from error
        if not ours:
            raise OutputError(f"{path} exists and was not written by ovrcoat. {LOSS_ADVICE}")
        if resume and document.get("categories") != self._head["categories"]:
            raise OutputError(f"{path} was written for another vocabulary. {LOSS_ADVICE}")
        return document


def _nbytes(result: WritableResult) -> int:
    """Return the number of bytes of its image (3 per pixel) and its map (4 per pixel)."""
    height, width = result.size
    return 7 * height * width


def _save_overlay(result: WritableResult, file: IO[bytes]) -> None:
    drawing = result.draw()
    drawing.thumbnail((JPEG_SIDE, JPEG_SIDE))  # affects only extremely long images
    drawing.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)  # 0: sharp borders


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(
            f"cannot write into {folder}: it is a file, not a folder. Choose another output folder."
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
