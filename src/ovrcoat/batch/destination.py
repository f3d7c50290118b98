"""Folder of a batch run: its record, its Parquet files, and what is finished.

    DEST/run.json              settings of the run and a digest of its images; never changes
    DEST/images/*.parquet      one row per segmented image
    DEST/quarantine/*.parquet  one row per unreadable image

The images are divided into parts of equal length. A part is finished when its file in images/ exists; its
file in quarantine/, if it has one, is written first. Names depend on the position alone. A process that is
killed between any two writes therefore leaves parts that are finished and parts that are done again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovrcoat.batch.item import Item
from ovrcoat.batch.rows import Quarantined, Row
from ovrcoat.batch.schema import image_schema, parquet_bytes, quarantine_schema
from ovrcoat.batch.sources import items_digest
from ovrcoat.errors import OutputError
from ovrcoat.formats.json_files import json_bytes, read_json_object
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.system.folder_lock import LOCK_NAME, OWNER_NAME, FolderLock
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.shard import Shard

RECORD = "run.json"
SHARDS = ".shards"  # locks of the shards
FORMAT = "ovrcoat batch 1"
_LOCK_SECONDS = 60.0
_ADVICE = "What is finished is kept: repeat the command when the folder can be written"
_NOT_RESULTS = {LOCK_NAME, OWNER_NAME, SHARDS}


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in the files of a run.

    Attributes:
        images: rows in images/.
        quarantined: rows in quarantine/.
    """

    images: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Destination:
    """The output folder of a run."""

    folder: Path

    @property
    def images(self) -> Path:
        """Folder of the results."""
        return self.folder / "images"

    @property
    def quarantine(self) -> Path:
        """Folder of the unreadable images."""
        return self.folder / "quarantine"

    def open(self, facts: Mapping[str, Any], items: Sequence[Item], *, resume: bool) -> None:
        """Create the folder with its record, or check that it belongs to the same run.

        Args:
            facts: everything besides the images that the results depend on.
            items: all images of the run, in order.
            resume: accept a folder of an earlier run.

        Raises:
            OutputError: the folder cannot be written, belongs to another run or another program, or holds an
                earlier run and `resume` is False.
        """
        record = {
            "format": FORMAT,
            **facts,
            "image_count": len(items),
            "image_digest": items_digest(items),
        }
        path = self.folder / RECORD
        _make_folder(self.folder)
        with FolderLock(self.folder, timeout=_LOCK_SECONDS):
            if path.exists():
                self._check_record(record, resume=resume)
                return
            if foreign := self._foreign_names():
                raise OutputError(
                    f"{self.folder} holds files of other programs ({foreign[0]}); choose another folder"
                )
            for folder in (self.images, self.quarantine):
                _make_folder(folder)
            write_atomically(path, lambda file: file.write(json_bytes(record)), durable=True)

    @contextmanager
    def lock(self, shard: Shard) -> Iterator[None]:
        """Hold the lock of a shard, so that two processes do not do the same work.

        Raises:
            OutputError: another process has it; the message names the process.
        """
        folder = self.folder / SHARDS / f"{shard.index}-of-{shard.count}"
        _make_folder(folder)
        with FolderLock(folder):
            yield

    def is_finished(self, part: int) -> bool:
        """Return whether a part need not be done again."""
        return self._image_path(part).exists()

    def write_part(self, part: int, rows: Sequence[Row], quarantined: Sequence[Quarantined]) -> None:
        """Write a part: first the unreadable images, then the results, which mark it as finished.

        Raises:
            OutputError: a file cannot be written; the part is then not finished.
        """
        quarantine_path = self._quarantine_path(part)
        if quarantined:
            entries = [one.to_row() for one in quarantined]
            write_durably(quarantine_path, parquet_bytes(entries, quarantine_schema()))
        else:
            quarantine_path.unlink(missing_ok=True)  # of a run that was killed; the image is readable now
        write_durably(self._image_path(part), parquet_bytes(rows, image_schema()))

    def count(self, parts: Sequence[int]) -> Counts:
        """Count the rows of finished parts, from their files.

        Raises:
            OutputError: a file is damaged.
        """
        finished = [part for part in parts if self.is_finished(part)]
        quarantined = [self._quarantine_path(part) for part in finished]
        return Counts(
            images=count_rows([self._image_path(part) for part in finished]),
            quarantined=count_rows([path for path in quarantined if path.exists()]),
        )

    def _image_path(self, part: int) -> Path:
        return self.images / f"part-{part:08d}.parquet"

    def _quarantine_path(self, part: int) -> Path:
        return self.quarantine / f"part-{part:08d}.parquet"

    def _foreign_names(self) -> list[str]:
        """Return names in a folder without a record that a run would not have written yet."""
        names = {path.name for path in self.folder.iterdir()} - _NOT_RESULTS - {"images", "quarantine"}
        inside = [path for folder in (self.images, self.quarantine) for path in folder.glob("*")]
        names |= {f"{path.parent.name}/{path.name}" for path in inside}
        return sorted(name for name in names if not name.endswith(".part"))

    def _check_record(self, record: Mapping[str, Any], *, resume: bool) -> None:
        if not resume:
            raise OutputError(
                f"{self.folder} holds an earlier run, and --no-resume was given; choose another output folder"
            )
        earlier = read_json_object(self.folder / RECORD, error_class=OutputError)
        different = [key for key in {**record, **earlier} if record.get(key) != earlier.get(key)]
        if different:
            key = different[0]
            raise OutputError(
                f"{self.folder} holds a run with other {', '.join(different)} ({key}: "
                f"{_short(earlier.get(key))} there, {_short(record.get(key))} now); repeat the earlier "
                "command, or choose another output folder"
            )


def count_rows(paths: Sequence[Path]) -> int:
    """Return the number of rows of Parquet files, from their metadata.

    Raises:
        OutputError: a file is damaged.
    """
    parquet = import_optional("pyarrow.parquet", extra="batch")
    total = 0
    for path in paths:
        try:
            total += parquet.read_metadata(path).num_rows
        except (OSError, ValueError) as error:  # pyarrow's errors are subclasses
            raise OutputError(
                f"{path} is damaged ({' '.join(str(error).split())[:200]}); delete it and run the same "
                "command again"
            ) from error
    return total


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def write_durably(path: Path, content: Any) -> None:
    """Write a file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    # durable: a part counts as finished, so a power failure must not leave an empty file with its name
    write_atomically(path, lambda file: file.write(content), advice=_ADVICE, durable=True)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
