"""JSON lines: one line per image with all segments and their masks as RLE, in one file per run."""

import json
from collections.abc import Collection, Iterable, Sequence
from operator import methodcaller
from pathlib import Path
from typing import IO

from ovrcoat._version import __version__
from ovrcoat.formats.json_files import encode_json
from ovrcoat.results.coco import encode_mask
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, OutputFile
from ovrcoat.results.run_document import write_all
from ovrcoat.system.atomic_write import cannot_write, check_replaceable, write_atomically
from ovrcoat.system.documents import parse_json
from ovrcoat.system.input_files import JSON, read_input
from ovrcoat.vocabulary import Category


class JsonLines(Exporter):
    """`segments.jsonl`.

    During a run, the lines are in a hidden file next to it. If the process is killed, the next run completes
    the file.
    """

    def __init__(
        self, folder: Path, categories: Sequence[Category], *, overwrite: bool, kept: Collection[str]
    ) -> None:
        super().__init__(folder, categories, overwrite=overwrite, kept=kept)
        self.path = folder / "segments.jsonl"
        self._part_path = folder / f".{self.path.name}.part"
        is_empty = self.path.is_file() and self.path.stat().st_size == 0  # as of a run without images
        check_replaceable(self.path, overwrite=overwrite or is_empty)
        self._file: IO[bytes] | None = None  # until the first image: a run that fails replaces nothing
        self._end = 0  # of the complete lines
        try:
            self._earlier = self._read_earlier() if kept else {}
            if self._part_path.exists():  # of a run that was killed
                if self._earlier:
                    write_atomically(self.path, methodcaller("write", b"".join(self._earlier.values())))
                self._part_path.unlink()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return nothing: there is one file per run."""
        return ()

    def append(self, image: ExportedImage) -> tuple[Path, ...]:
        """Write the image's line."""
        result = image.complete
        height, width = result.size
        record = {
            "ovrcoat": __version__,
            "file_name": image.file_name,
            "output": image.stem,
            "source": None if image.source is None else str(image.source),
            "task": result.task,
            "height": height,
            "width": width,
            "segments": [
                segment.to_coco() | {"segmentation": encode_mask(result.mask(segment.id))}
                for segment in result.segments
            ],
            "background": [share.to_dict() for share in result.background],
        }
        line = encode_json(json.dumps(record, ensure_ascii=False)) + b"\n"
        self._write(line)
        self._earlier.pop(image.stem, None)
        return (self.path,)

    def has(self, stem: str) -> bool:
        """Return whether the file of an earlier run holds an image."""
        return stem in self._earlier

    def close(self, *, interrupted: bool) -> None:
        """Add the lines of earlier runs that stay, and move the file to its place."""
        if self._file is None and interrupted:
            return
        try:
            self._write(b"".join(self._earlier.values()))
        finally:
            if self._file is not None:
                self._file.close()
        try:
            self._part_path.replace(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _write(self, lines: bytes) -> None:
        """Write all lines or nothing."""
        try:
            if self._file is None:
                self._file = self._part_path.open("wb", buffering=0)
            write_all(self._file.fileno(), lines, position=self._end)
            self._end += len(lines)
        except OSError as error:
            if self._file is not None:
                self._file.truncate(self._end)
            raise cannot_write(self.path, error) from error

    def _read_earlier(self) -> dict[str, bytes]:
        """Return the lines of images that stay, from the last finished run and from one that was killed."""
        lines: dict[str, bytes] = {}
        for path in (self.path, self._part_path):
            if not path.exists():
                continue
            for line in read_input(path, JSON).splitlines(keepends=True):
                stem = _stem(line)
                if stem in self.kept:
                    lines[stem] = line
        return lines


def _stem(line: bytes) -> str:
    """Return the stem of an image's output files; "" for a line that is damaged or cut off."""
    try:
        stem = parse_json(line)["output"] if line.endswith(b"\n") else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return stem if isinstance(stem, str) else ""
