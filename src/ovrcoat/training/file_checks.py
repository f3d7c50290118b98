"""Checks of all image and label files before the first step, without decoding them.

Only the first and last bytes of a file are read. A file that seems to be incomplete is then decoded, so that
only files that really cannot be used are reported.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ovrcoat.data.files import FileTree
from ovrcoat.data.panoptic_dataset import FileDataset
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record
from ovrcoat.issues import MAX_EXAMPLES, Issue
from ovrcoat.system.input_files import LABELS, open_input
from ovrcoat.training.sources import ImageSource

THREADS = 8  # opening files is limited by latency, above all on network drives
TAIL = 64  # bytes at the end; enough for the last marker and a few bytes that some programs append
# First bytes of a format → bytes near the end of a complete file.
END_MARKERS = {b"\x89PNG": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}


def check_files(source: ImageSource) -> Iterator[Issue]:
    """Check that the files of all training images exist and seem to be complete.

    Yields:
        A warning about unusable files, if they are to be skipped.

    Raises:
        DatasetError: files are unusable and must not be skipped, or no image is left.
    """
    dataset = source.dataset
    if not isinstance(dataset, FileDataset):
        return
    with ThreadPoolExecutor(THREADS) as pool:
        suspects = [
            record
            for record, complete in zip(
                source.records,
                pool.map(lambda record: _seem_complete(dataset.tree, record), source.records),
                strict=True,
            )
            if not complete
        ]
    reasons = [reason for record in suspects if (reason := _why_unusable(source, dataset, record))]
    if not reasons:
        return
    total = len(source.records)
    if source.on_error == "skip" and len(reasons) < total:
        message = f"{dataset.name}: {len(reasons)} of {total} images cannot be used and are skipped"
        yield Issue("warning", "image-unusable", message, examples=reasons[:MAX_EXAMPLES], count=len(reasons))
        return
    raise DatasetError(
        f"{dataset.name}: {len(reasons)} of {total} images cannot be used: {_shorten(reasons)}. Repair them, "
        "remove them from the dataset, or set on_error: skip for this dataset"
    )


def _seem_complete(tree: FileTree, record: Record) -> bool:
    return all(_seems_complete(tree, path) for path in (record.image, record.labels))


def _seems_complete(tree: FileTree, path: str) -> bool:
    location = tree.locate(path)
    if location is None:
        return False
    if not isinstance(location.container, Path):
        return True  # zip files have checksums
    try:
        with open_input(location.container / location.name, LABELS) as file:
            head = file.read(TAIL)
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    except OSError:
        return False
    for start, end in END_MARKERS.items():
        if head.startswith(start):
            return end in tail
    return bool(head)


def _why_unusable(source: ImageSource, dataset: FileDataset, record: Record) -> str | None:
    """Return what is wrong with an image or its labels; None if both can be read."""
    missing = [path for path in (record.image, record.labels) if not dataset.tree.exists(path)]
    if missing:
        return " and ".join(f"{dataset.tree.describe(path)} does not exist" for path in missing)
    try:
        source.image(record)
    except DatasetError as error:
        return str(error)
    return None


def _shorten(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - MAX_EXAMPLES} more" if len(reasons) > MAX_EXAMPLES else ""
    return "; ".join(reasons[:MAX_EXAMPLES]) + more
