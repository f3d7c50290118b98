"""Fingerprints of a dataset's content, so that results of earlier labels are never mixed with new ones.

A fingerprint holds no absolute path and no modification time: a dataset that was moved, copied, renamed or
packed into a zip file keeps its fingerprints.
"""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from ovrcoat.data.files import FileTree
from ovrcoat.formats.annotations import Record

# Two images of these formats can have the same number of bytes and other pixels, so their bytes are hashed.
# For compressed images the number of bytes is enough, and reading them all would take too long.
UNCOMPRESSED_SUFFIXES = (".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".tif", ".tiff")
DIGITS = 16


def record_fingerprint(record: Record, tree: FileTree, *, labels: Iterable[str]) -> str:
    """Return a hash of an image's ground truth, the bytes of its label files, and the size of its image file.

    Args:
        record: The image.
        tree: Files of the dataset.
        labels: Paths of the files from which ground truth of this image is read; missing files are allowed.
    """
    image = PurePosixPath(record.image).name
    hashes_image = image.lower().endswith(UNCOMPRESSED_SUFFIXES)
    facts = (
        record.image_id,
        image,
        tree.checksum(record.image) if hashes_image else tree.file_size(record.image),
        [(s.id, s.category_id, s.area, s.is_crowd) for s in record.segments],
        [(PurePosixPath(path).name, tree.checksum(path)) for path in labels],
    )
    return combine([repr(facts)])


def combine(parts: Iterable[str]) -> str:
    """Return a hash of several texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:DIGITS]
