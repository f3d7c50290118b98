"""Writes an image in several formats: files of all formats are checked before the first one is written."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path

from ovrcoat.results.exports.exporter import ExportedImage, Exporter, OutputFile
from ovrcoat.results.exports.table import load_exporter
from ovrcoat.system.atomic_write import (
    check_replaceable,
    make_folder,
    remove_leftovers,
    write_atomically,
)
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A file that may be written."""

    path: Path
    content: bytes


class ExportWriter:
    """The exporters of a run.

    Each format has a folder of its own, named like the format, in the folder of the run.

    Args:
        folder: the folder of the run.
        formats: names of formats, as `choose_formats` returns them.
        categories: the vocabulary's categories.
        overwrite: replace files that this package did not write.
        kept: stems of images of an earlier run that stay.

    Raises:
        OutputError: a folder or file cannot be written, or a file of another program would be replaced.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        categories: Sequence[Category],
        *,
        overwrite: bool,
        kept: Collection[str],
    ) -> None:
        self._overwrite = overwrite
        self._exporters: list[Exporter] = []
        for name in formats:
            if (exporter_class := load_exporter(name)) is None:
                continue
            make_folder(folder / name)
            remove_leftovers(folder / name)  # the caller has locked the folder of the run
            exporter = exporter_class(folder / name, categories, overwrite=overwrite, kept=kept)
            self._exporters.append(exporter)
            write_files([self._checked(exporter, file) for file in exporter.run_files()])

    def __bool__(self) -> bool:
        return bool(self._exporters)

    def prepare(self, image: ExportedImage) -> list[PreparedFile]:
        """Return the image's files.

        Raises:
            OutputError: a file of another program would be replaced.
        """
        return [
            self._checked(exporter, file)
            for exporter in self._exporters
            for file in exporter.image_files(image)
        ]

    def append(self, image: ExportedImage) -> tuple[Path, ...]:
        """Add the image to the documents of the run and return their paths.

        Raises:
            OutputError: a document cannot be written.
        """
        return tuple(path for exporter in self._exporters for path in exporter.append(image))

    def has(self, stem: str) -> bool:
        """Return whether the documents of an earlier run hold an image."""
        return all(exporter.has(stem) for exporter in self._exporters)

    def close(self, *, interrupted: bool) -> None:
        """Complete the documents; a second call has no effect.

        Raises:
            OutputError: one cannot be written; the others are completed.
        """
        exporters, self._exporters = self._exporters, []
        with ExitStack() as stack:
            for exporter in exporters:
                stack.callback(partial(exporter.close, interrupted=interrupted))

    def _checked(self, exporter: Exporter, file: OutputFile) -> PreparedFile:
        path = exporter.folder / file.path
        content = file.content if file.is_fixed else None
        check_replaceable(path, overwrite=self._overwrite, content=content)
        return PreparedFile(path, file.content)


def write_files(files: Sequence[PreparedFile]) -> None:
    """Write files atomically, each in a folder that is created if necessary.

    Raises:
        OutputError: a file cannot be written.
    """
    for file in files:
        make_folder(file.path.parent)
        write_atomically(file.path, methodcaller("write", file.content))
