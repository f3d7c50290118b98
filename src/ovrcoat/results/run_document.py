"""The JSON document of a run, written image by image: it survives a full disk, an interrupt and a kill.

While a run goes on, two hidden files lie next to the document:

- The part: the beginning of the document with the annotations so far, and space reserved for its end. Because
  of that space a full disk cannot prevent the completion of the document.
- The journal: one JSON line per finished image. If the process is killed, the next run completes the document
  from both files.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, model_validator

from ovrcoat.errors import OutputError
from ovrcoat.formats.json_files import encode_json
from ovrcoat.system.atomic_write import LOSS_ADVICE, cannot_write, sync, write_atomically
from ovrcoat.system.documents import parse_json
from ovrcoat.system.input_files import JSON, read_input
from ovrcoat.system.paths import is_plain_name, leads_outside

FORMAT = "ovrcoat run journal 1"
Entry = dict[str, Any]


class RunDocument:
    """A document that is being written.

    Args:
        path: where the document will be.
        head: its first entries.
        settings: what the results depend on besides the images; stored in the document.

    Raises:
        OutputError: the files cannot be created.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.images: list[Entry] = []
        self._part_path, self._journal_path = _hidden_paths(path)
        entries = {**head, "settings": dict(settings)} if settings else dict(head)
        begin = json.dumps(entries, ensure_ascii=False)[:-1]
        begin += ', "annotations": ['
        header = {"format": FORMAT}
        try:
            for leftover in (self._part_path, self._journal_path):
                leftover.unlink(missing_ok=True)  # never write through a link that lies in the folder
            self._part = os.open(self._part_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            self._journal = self._journal_path.open("xb", buffering=0)
            self._end = 0  # of the annotations
            self._size = 0  # with the reserved space
            self._tail_bytes = len(self._tail(interrupted=True))
            self._append(encode_json(begin))
            write_all(self._journal.fileno(), _line(header))
        except OSError as error:
            raise cannot_write(path, error) from error
        self._separator = b"\n"
        self._is_open = True

    def add(self, image: Entry, annotations: Sequence[Entry]) -> None:
        """Add an image with its annotations: both or nothing.

        Raises:
            OutputError: the disk is full, for example; what was added before is kept.
        """
        lines = []
        separator = self._separator
        for annotation in annotations:
            lines.append(separator + encode_json(json.dumps(annotation, ensure_ascii=False)))
            separator = b",\n"
        before = self._end
        self._tail_bytes += len(encode_json(json.dumps(image, ensure_ascii=False))) + 2
        try:
            self._append(b"".join(lines))
            write_all(self._journal.fileno(), _line({"image": image, "end": self._end}))
        except OSError as error:
            self._end = before
            raise cannot_write(self.path, error) from error
        self._separator = separator
        self.images.append(image)

    def close(self, *, interrupted: bool = False) -> None:
        """Complete the document.

        Args:
            interrupted: whether the run ended before its last image; the document says so.

        Raises:
            OutputError: the document cannot be written.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._journal.close()
        try:
            _complete(self._part, self._end, self._tail(interrupted=interrupted))
            os.close(self._part)
            self._part_path.replace(self.path)
            sync(self.path.parent)
            self._journal_path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _append(self, content: bytes) -> None:
        """Write behind the annotations, and keep space for the tail behind that."""
        needed = self._end + len(content) + self._tail_bytes
        if needed > self._size:
            # first the new space, which may not exist; then the content, into space that does
            write_all(self._part, b" " * (needed - self._size), position=self._size)
            self._size = needed
        write_all(self._part, content, position=self._end)
        self._end += len(content)

    def _tail(self, *, interrupted: bool) -> bytes:
        return _tail(self.images, interrupted=interrupted)


def recover(path: Path) -> bool:
    """Complete the document of a run that was killed; returns whether there was one.

    If that run continued an earlier one, the images of the earlier run are kept. Files that cannot be used
    are removed.

    Raises:
        OutputError: the document cannot be written.
    """
    part_path, journal_path = _hidden_paths(path)
    try:
        has_images = _complete_part(part_path, journal_path)
        if has_images:
            _keep_images_of(path, part_path)
            part_path.replace(path)
        part_path.unlink(missing_ok=True)
        journal_path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return has_images


def _complete_part(part_path: Path, journal_path: Path) -> bool:
    """Complete the document in the part as the journal says; return whether it has images."""
    if part_path.is_symlink() or journal_path.is_symlink():  # this package makes none
        return False
    images, end = _read_journal(journal_path)
    if not images or not part_path.exists():  # without a part, the document was completed before the kill
        return False
    part = os.open(part_path, os.O_RDWR)
    try:
        if os.fstat(part).st_size < end:
            return False
        _complete(part, end, _tail(images, interrupted=True))
    finally:
        os.close(part)
    return True


def _keep_images_of(path: Path, part_path: Path) -> None:
    """Add the images of an unfinished earlier run to a completed part that lacks them.

    Raises:
        OSError: the part cannot be written.
    """
    try:
        earlier, document = read_run_document(path), read_run_document(part_path)
    except OutputError:
        return  # there is none, or a damaged one
    is_continued = earlier.get("interrupted") and all(
        earlier.get(key) == document.get(key) for key in ("categories", "settings")
    )
    outputs = {image["output"] for image in document["images"]}
    images = [image for image in earlier["images"] if image["output"] not in outputs]
    if not is_continued or not images:
        return
    ids = {image["id"] for image in images}
    document["images"] += images
    document["annotations"] += [entry for entry in earlier["annotations"] if entry["image_id"] in ids]
    content = encode_json(json.dumps(document, ensure_ascii=False))
    write_atomically(part_path, lambda file: file.write(content), durable=True)


# Names with bytes that are not UTF-8 contain surrogates, which pydantic refuses for `str`.
Text = InstanceOf[str]


class _Source(BaseModel):
    model_config = ConfigDict(strict=True)

    path: Text | None = None


class _Image(BaseModel):
    """What is read of an image in an earlier run's document; further keys are kept."""

    model_config = ConfigDict(strict=True)

    id: Annotated[int, Field(ge=0, lt=2**53)]
    output: Text  # stem of its files, inside the folder
    file_name: Text
    width: int
    height: int
    source: _Source | None = None
    exported: list[Text] = []
    notes: list[Text] = []

    @model_validator(mode="after")
    def _check_names(self) -> "_Image":
        if not is_plain_name(self.output):
            raise ValueError(f"its output {self.output!r} is not a plain file name")
        if outside := [name for name in self.exported if leads_outside(name)]:
            raise ValueError(f"its file {outside[0]!r} is outside of the folder")
        return self


class _Annotation(BaseModel):
    model_config = ConfigDict(strict=True)

    image_id: int
    segments_info: list[dict[Text, Any]] = []


class _Document(BaseModel):
    """What is read of an earlier run's document, which is untrusted: its folder may come from anyone."""

    model_config = ConfigDict(strict=True)

    categories: list[dict[Text, Any]]
    images: list[_Image]
    annotations: list[_Annotation]


def read_run_document(path: Path) -> dict[str, Any]:
    """Read and check the document of an earlier run.

    Raises:
        OutputError: it cannot be read, or is not such a document.
    """
    try:
        document = parse_json(read_input(path, JSON))
        checked = _Document.model_validate(document)
        json.dumps(document)  # raises for values nested so deeply that they cannot be written again
        ids = {image.id for image in checked.images}
        if unknown := [entry.image_id for entry in checked.annotations if entry.image_id not in ids]:
            raise ValueError(f"an annotation belongs to image {unknown[0]}, which is not listed")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"it is not the document of a run ({place}: {first['msg']})"
        raise _unreadable(path, problem) from error
    except RecursionError as error:
        raise _unreadable(path, "its values are nested too deeply") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    return document


def _unreadable(path: Path, problem: str) -> OutputError:
    return OutputError(f"cannot read the existing file {path}: {problem}. {LOSS_ADVICE}")


def _hidden_paths(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.journal")


def _read_journal(path: Path) -> tuple[list[Entry], int]:
    """Return the finished images, and where their annotations end; a damaged line ends the journal."""
    images: list[Entry] = []
    end = 0
    try:
        lines = read_input(path, JSON).split(b"\n")
    except FileNotFoundError:
        return [], 0
    for number, line in enumerate(lines):
        try:
            entry = parse_json(line)
            if number == 0:
                if entry != {"format": FORMAT}:
                    break
                continue
            image, position = entry["image"], entry["end"]
        except (ValueError, KeyError, TypeError, RecursionError):
            break
        if not isinstance(image, dict) or not isinstance(position, int) or position < end:
            break
        images.append(image)
        end = position
    return images, end


def _tail(images: Sequence[Entry], *, interrupted: bool) -> bytes:
    entries = ", ".join(json.dumps(image, ensure_ascii=False) for image in images)
    mark = ', "interrupted": true' if interrupted else ""
    return encode_json(f'\n], "images": [{entries}]{mark}}}\n')


def _complete(part: int, end: int, tail: bytes) -> None:
    """Write the tail at `end`, and cut off the rest of the reserved space."""
    write_all(part, tail, position=end)
    os.ftruncate(part, end + len(tail))
    os.fsync(part)


def _line(value: object) -> bytes:
    return encode_json(json.dumps(value, ensure_ascii=False)) + b"\n"


def write_all(descriptor: int, content: bytes, *, position: int | None = None) -> None:
    """Write all bytes, at `position` or at the current one; a short write is continued or raises.

    Raises:
        OSError: the disk is full, for example.
    """
    if position is not None:
        os.lseek(descriptor, position, os.SEEK_SET)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
