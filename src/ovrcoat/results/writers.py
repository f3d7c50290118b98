"""Write results to files: id PNG, overlay, and one JSON document for the whole run.

Every file is written atomically: under a temporary name next to its final place, then moved there.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from types import MappingProxyType, TracebackType
from typing import IO, Any, Literal, Protocol, TypeVar, runtime_checkable

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ovrcoat.errors import OutputError
from ovrcoat.formats.panoptic_png import write_id_png
from ovrcoat.results.coco import UNNAMED, document_head, file_stem, image_entry
from ovrcoat.results.exports.exporter import ExportedImage, LabeledResult
from ovrcoat.results.exports.table import DEFAULT_FORMATS, choose_formats
from ovrcoat.results.exports.writer import ExportWriter, write_files
from ovrcoat.results.run_document import RunDocument, read_run_document, recover
from ovrcoat.system.atomic_write import (
    JPEG_SIGNATURE,
    LOSS_ADVICE,
    PNG_SIGNATURE,
    check_replaceable,
    make_folder,
    remove_leftovers,
    write_atomically,
    write_output,
)
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.system.prefetch import write_behind
from ovrcoat.vocabulary import Category


@runtime_checkable
class WritableResult(LabeledResult, Protocol):
    """The part of a result that the writer needs."""

    @property
    def name(self) -> str | None: ...  # noqa: D102
    def shown(self) -> LabeledResult: ...  # noqa: D102
    def to_coco(self, *, image_id: int = 1) -> Any: ...  # noqa: D102
    def draw(self) -> Image.Image: ...  # noqa: D102


AnyResult = TypeVar("AnyResult", bound=WritableResult)

DOCUMENTS = {"panoptic": "panoptic.json", "semantic": "semantic.json", "instance": "instances.json"}
BARE_DOCUMENT = "run.json"  # of a run without the task's default format
DRAWING_SUFFIXES = (".jpg", ".jpeg", ".png")
JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # pixels: the limit of the JPEG library
MAX_WAITING = 4  # results that may wait to be written
MAX_WAITING_BYTES = 256 * 2**20  # a result of 12 megapixels takes 84 MB
SAVE_TIMEOUT = 10.0  # seconds that `Result.save` waits for another writer of the folder
NO_SOURCES: Mapping[str, Path] = MappingProxyType({})

Resume = Literal["never", "interrupted", "always"]


class RunWriter:
    """Writes the results of a run into a folder, one by one, in bounded memory.

    Each image gets NAME.png (panoptic and semantic ids, R + 256 G + 65536 B) and, if the result has its
    image, NAME.overlay.jpg. A second image of the same name becomes NAME-2. The run gets one of `DOCUMENTS`
    in COCO's format. The document is completed when the writer is closed, also after an error; if the process
    is killed, the next writer for the folder completes it.

    Other `formats` write into folders of their own. Without the task's default format there are no id PNGs
    and overlays, and the run's document is `BARE_DOCUMENT`: segments without masks, from which a run is
    resumed.

    Args:
        folder: created if it does not exist. One writer at a time may use it.
        task: the task of all results.
        categories: the vocabulary's categories.
        formats: names as in `exports.table.FORMATS`, or a text with commas between them; None selects the
            task's default.
        settings: what the results depend on besides the images, in a form that JSON can hold.
        overwrite: replace files that this package did not write, and start a new document.
        resume: which images of an existing document are kept: "never" any; "interrupted": those of a run that
            ended early and had equal categories and settings; "always": all (those that are written again
            are replaced).

    Attributes:
        document_path: path of the run's JSON document.

    Raises:
        ConfigError: there is no such format, or it cannot hold the results.
        MissingExtraError: a format needs an optional dependency that is not installed.
        OutputError: the folder cannot be created or written, or another writer uses it; it holds a document
            or file of another program, and `overwrite` is False; or, with `resume` "always", its document has
            other categories.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        task: str,
        categories: Sequence[Category],
        formats: str | Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        resume: Resume = "never",
    ) -> None:
        self.folder = Path(folder)
        chosen = choose_formats(formats, task=task, categories=categories)
        self._has_default = DEFAULT_FORMATS[task] in chosen
        self.document_path = self.folder / (DOCUMENTS[task] if self._has_default else BARE_DOCUMENT)
        self._task = task
        self._overwrite = overwrite
        self._head = document_head(categories)
        self._settings = json.loads(json.dumps(dict(settings or {})))  # in the form that JSON returns
        make_folder(self.folder)
        self._folder_lock = FolderLock(self.folder, timeout=SAVE_TIMEOUT if resume == "always" else 0.0)
        try:
            remove_leftovers(self.folder)
            recover(self.document_path)
            check_replaceable(self.document_path, overwrite=overwrite)
            self._earlier = self._read_earlier("never" if overwrite else resume)
            stems = {entry["output"] for entry in self._earlier["images"]}
            self._exports = ExportWriter(self.folder, chosen, categories, overwrite=overwrite, kept=stems)
            self._document = RunDocument(self.document_path, self._head, settings=self._settings)
        except BaseException:
            self._folder_lock.release()
            raise
        self._stems = {stem.casefold() for stem in stems}
        self._earlier_stems = {entry["file_name"]: entry["output"] for entry in self._earlier["images"]}
        self._next_id = 1 + max((entry["id"] for entry in self._earlier["images"]), default=0)
        self._thread_lock = threading.Lock()  # the document waits for an image that another thread writes

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(interrupted=kind is not None)

    @property
    def earlier(self) -> tuple[dict[str, Any], ...]:
        """The images of the existing document that are kept, as in its `images`."""
        return tuple(self._earlier["images"])

    def annotations_of(self, image_id: int) -> list[dict[str, Any]]:
        """Return the annotations of an image in `earlier`."""
        return [entry for entry in self._earlier["annotations"] if entry["image_id"] == image_id]

    def files_of(self, entry: Mapping[str, Any]) -> tuple[Path, ...] | None:
        """Return the files of an image in `earlier`; None if they are not complete."""
        stem = entry["output"]
        if not self._exports.has(stem):
            return None
        id_png, overlay = self._default_paths(stem)
        required = [] if not self._has_default or self._task == "instance" else [id_png]
        required += [overlay] if self._has_default else []
        required += [self.folder / path for path in entry.get("exported", [])]
        return tuple(required) if all(path.exists() for path in required) else None

    def add_all(
        self,
        results: Iterable[AnyResult],
        *,
        sources: Mapping[str, Path] = NO_SOURCES,
        on_written: Callable[[AnyResult, tuple[Path, ...]], object] = lambda result, paths: None,
    ) -> None:
        """Add many results; a background thread writes one while the caller's thread computes the next one.

        If `results` ends with an error, for example on Ctrl-C, the results so far are still written.

        Args:
            results: iterated in the caller's thread.
            sources: paths of the images by the names of their results (see `add`).
            on_written: called in the caller's thread, in order, with each result and the paths of its files.

        Raises:
            OutputError, MissingExtraError: as for `add`; later results are not written.
        """
        write_behind(
            results,
            lambda result: (result, self.add(result, source=sources.get(result.name or ""))),
            name="write-behind",
            on_result=lambda written: on_written(*written),
            max_items=MAX_WAITING,
            size_of=_nbytes,
            max_bytes=MAX_WAITING_BYTES,
        )

    def add(self, result: WritableResult, *, source: Path | None = None) -> tuple[Path, ...]:
        """Write the files of one image and return their paths.

        Args:
            result: the result.
            source: path of the image; a later run recognizes it by path, size and time of change.

        Raises:
            OutputError: a file cannot be written, or a file of another program would be replaced.
            MissingExtraError: the task is "instance" and pycocotools is not installed.
        """
        with self._thread_lock:
            return self._add(result, source)

    def _add(self, result: WritableResult, source: Path | None) -> tuple[Path, ...]:
        name = PurePath(result.name or UNNAMED).name
        # an image of an earlier run replaces its own files only
        stem = self._earlier_stems.pop(name, None) or file_stem(name, taken=self._stems)
        image_id = self._next_id
        id_png, overlay = self._default_paths(stem)
        outputs = self._default_outputs(result, stem)
        for path in outputs:
            check_replaceable(path, overwrite=self._overwrite)
        image = image_entry(name, image_id=image_id, size=result.size) | {"output": stem}
        shown = result.shown() if self._exports else result  # takes time for instances
        exported = ExportedImage(shown, complete=result, entry=dict(image), source=source)
        files = self._exports.prepare(exported)
        annotations = self._annotations(result, image_id=image_id, id_png=id_png)
        if notes := getattr(result, "notes", ()):
            image["notes"] = list(notes)
        if source is not None:
            image["source"] = source_facts(source)
        new = [path for path in (*outputs, *(file.path for file in files)) if not path.exists()]
        try:
            if id_png in outputs:
                write_atomically(id_png, lambda file: write_id_png(file, result.segment_map()))
            if overlay in outputs:
                write_atomically(overlay, lambda file: _save_jpeg(result.draw(), file))
            write_files(files)
            exports = [*(file.path for file in files), *self._exports.append(exported)]
            if exports:
                image["exported"] = [path.relative_to(self.folder).as_posix() for path in exports]
            self._document.add(image, annotations)
        except OutputError:
            for path in new:  # an image is complete or not there
                path.unlink(missing_ok=True)
            raise
        self._stems.add(stem.casefold())
        self._next_id += 1
        return (*outputs, *exports)

    def _default_paths(self, stem: str) -> tuple[Path, Path]:
        """Return the paths of the id PNG and of the overlay."""
        return self.folder / f"{stem}.png", self.folder / f"{stem}.overlay.jpg"

    def _default_outputs(self, result: WritableResult, stem: str) -> list[Path]:
        """Return the files of the default format that an image gets."""
        if not self._has_default:
            return []
        id_png, overlay = self._default_paths(stem)
        outputs = [] if result.task == "instance" else [id_png]
        return outputs + ([] if result.image is None else [overlay])

    def _annotations(self, result: WritableResult, *, image_id: int, id_png: Path) -> list[dict[str, Any]]:
        """Return the annotations of an image in the run's document."""
        if not self._has_default:
            segments = [segment.to_coco() for segment in result.segments]
            return [{"image_id": image_id, "segments_info": segments}]
        annotations = result.to_coco(image_id=image_id)
        return annotations if result.task == "instance" else [annotations | {"file_name": id_png.name}]

    def close(self, *, interrupted: bool = False) -> None:
        """Complete the run's document with the results so far.

        Args:
            interrupted: whether the run ended before its last image.

        Raises:
            OutputError: it cannot be written.
        """
        with self._thread_lock:
            try:
                self._keep_earlier()
            finally:
                with ExitStack() as stack:
                    stack.callback(self._folder_lock.release)
                    stack.callback(self._document.close, interrupted=interrupted)
                    self._exports.close(interrupted=interrupted)

    def _keep_earlier(self) -> None:
        """Add the images of the existing document that were not written again."""
        outputs = {entry["output"] for entry in self._document.images}
        earlier, self._earlier = self._earlier, {"images": [], "annotations": []}
        annotations: dict[int, list[dict[str, Any]]] = {}
        for annotation in earlier["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        for image in earlier["images"]:
            if image["output"] not in outputs:
                self._document.add(image, annotations.get(image["id"], []))

    def _read_earlier(self, resume: Resume) -> dict[str, list[dict[str, Any]]]:
        """Return the images and annotations of the existing document that stay."""
        nothing: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        path = self.document_path
        if resume == "never" or not path.exists():
            return nothing
        try:
            document = read_run_document(path)
        except OutputError:
            if resume == "interrupted":
                return nothing  # it is ours, and this run replaces it
            raise
        same_categories = _without_colors(document["categories"]) == _without_colors(self._head["categories"])
        if resume == "always" and not same_categories:
            raise OutputError(f"{path} was written for another vocabulary. {LOSS_ADVICE}")
        if resume == "interrupted" and not (
            document.get("interrupted") and same_categories and document.get("settings", {}) == self._settings
        ):
            return nothing
        return {"images": document["images"], "annotations": document["annotations"]}


def _without_colors(categories: Sequence[Any]) -> list[Any]:
    """Return the categories of a document without colors, which another version may choose differently."""
    return [
        {key: value for key, value in category.items() if key != "color"}
        if isinstance(category, dict)
        else category
        for category in categories
    ]


def source_facts(path: Path) -> dict[str, Any]:
    """Return what identifies an image file: its path, size in bytes and time of change."""
    try:
        facts = path.stat()
    except OSError:
        return {"path": str(path)}
    return {"path": str(path), "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _nbytes(result: WritableResult) -> int:
    """Return the number of bytes of its image (3 per pixel) and its map (4 per pixel)."""
    height, width = result.size
    return 7 * height * width


def write_drawing(path: Path, drawing: Image.Image, *, overwrite: bool = False) -> None:
    """Write a drawing to a JPEG or PNG file, by the suffix of `path`.

    Args:
        path: the file; its folder is created if necessary.
        drawing: the drawing.
        overwrite: also replace a file that this package did not write.

    Raises:
        OutputError: the suffix is not known, the file cannot be written, or a file would be lost.
    """
    suffix = path.suffix.lower()
    if suffix not in DRAWING_SUFFIXES:
        raise OutputError(
            f"cannot write {path}: expected a name that ends with {', '.join(DRAWING_SUFFIXES)}"
        )
    make_folder(path.parent)
    save = _save_png if suffix == ".png" else _save_jpeg
    write_output(path, lambda file: save(drawing, file), overwrite=overwrite)


def _save_png(drawing: Image.Image, file: IO[bytes]) -> None:
    info = PngInfo()
    info.add_text(*PNG_SIGNATURE)
    drawing.save(file, format="PNG", pnginfo=info)


def _save_jpeg(drawing: Image.Image, file: IO[bytes]) -> None:
    drawing.thumbnail((JPEG_SIDE, JPEG_SIDE))  # affects only extremely long images
    # subsampling 0: sharp borders
    drawing.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0, comment=JPEG_SIGNATURE)
