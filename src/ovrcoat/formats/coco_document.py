"""Streaming writer of COCO documents: annotations go to disk immediately, and the file appears complete."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ovrcoat.formats.json_files import encode_json
from ovrcoat.system.atomic_write import ADVICE, cannot_write, new_part_path, sync


class CocoDocumentWriter:
    """Writes a JSON document with the keys of `head`, "annotations" and "images", annotation by annotation.

    Annotations are written to a hidden temporary file next to `path`, since a run may have more of them than
    fit into memory. `finish` moves it to `path`; `discard` deletes it.

    Args:
        path: The file to write. Its folder must exist.
        head: First entries of the document, for example {"categories": [...]}.
        advice: End of error messages about a file that cannot be written.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: Path, *, head: dict[str, Any], advice: str = ADVICE) -> None:
        self.path = path
        self._advice = advice
        self._temporary_path = new_part_path(path, is_named=True)
        self._separator = "\n"
        with self._output_errors():
            self._file = self._temporary_path.open("xb")
            self._write(json.dumps(head, ensure_ascii=False).removesuffix("}") + ', "annotations": [')

    @property
    def is_open(self) -> bool:
        """Whether the document was neither finished nor discarded."""
        return not self._file.closed

    def append(self, annotation: dict[str, Any]) -> None:
        """Write one annotation.

        Raises:
            OutputError: The file cannot be written.
        """
        with self._output_errors():
            self._write(self._separator + json.dumps(annotation, ensure_ascii=False))
        self._separator = ",\n"

    def finish(self, images: Sequence[dict[str, Any]]) -> None:
        """Write the list of images, close the document and move it to its path.

        Raises:
            OutputError: The file cannot be written; the document is discarded.
        """
        try:
            with self._output_errors():
                self._write(f'\n], "images": {json.dumps(images, ensure_ascii=False)}}}\n')
                self._file.flush()
                os.fsync(self._file.fileno())  # a power failure must not leave an empty document
                self._file.close()
                self._temporary_path.replace(self.path)
                sync(self.path.parent)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close and delete the temporary file; has no effect after `finish`."""
        try:
            with self._output_errors():
                self._file.close()
        finally:
            with suppress(OSError):  # the next run removes it
                self._temporary_path.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        self._file.write(encode_json(text))

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path, error, advice=self._advice) from error
