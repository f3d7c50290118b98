"""Sources of a batch run (folders, images, lists, tar shards, URLs) to items in a fixed order."""

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ovrcoat.batch.item import Item
from ovrcoat.batch.manifests import JSON_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES, list_manifest
from ovrcoat.batch.storage import describe, is_remote, remote_file_system
from ovrcoat.batch.tar_shards import list_tar
from ovrcoat.data.find_images import SUFFIXES, search_images
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.system.paths import exists, expand_user, is_folder, printable

MANIFESTS = (*TEXT_SUFFIXES, *JSON_SUFFIXES, *PARQUET_SUFFIXES)
TAR = (".tar",)
COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def list_items(sources: Sequence[str]) -> list[Item]:
    """Return the images of all sources. The order depends on nothing but the sources and their contents.

    Args:
        sources: images, folders ("folder/**" includes subfolders) and patterns, as `search_images` accepts
            them; text, JSON-lines and Parquet lists; tar shards; and all of these as URLs.

    Raises:
        ImageError: a source has no image.
        DatasetError: a list or a URL cannot be read, or two images have the same id.
        MissingExtraError: a source needs pyarrow, fsspec or the package of its file system.
    """
    items = [_storable(item) for source in sources for item in _expand(source)]
    if not items:
        raise ImageError(f"{', '.join(map(printable, sources))}: there is no image")
    _check_unique(items)
    return items


def items_digest(items: Iterable[Item]) -> str:
    """Return the SHA-256 of ids and paths, in order."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.id}\0{item.path}\n".encode())
    return digest.hexdigest()


def _expand(source: str) -> Iterator[Item]:
    lower = source.lower()
    if lower.endswith(COMPRESSED_TAR):
        raise DatasetError(
            f"{printable(source)}: images of a compressed tar file cannot be read by their position; unpack "
            "it to a plain .tar file, whose images are compressed anyway"
        )
    if is_remote(source):
        yield from _expand_remote(source)
    elif lower.endswith((*MANIFESTS, *TAR)):
        yield from _expand_lists(source)
    else:
        search = search_images(source)
        if search.failed:
            raise ImageError(next(iter(search.failed.values())))
        for image in search.images:
            yield Item(id=str(image), path=os.path.abspath(image))  # noqa: PTH100 - keeps links


def _expand_lists(source: str) -> Iterator[Item]:
    """Expand a list or tar file, or a pattern of them."""
    path = expand_user(source)
    if is_folder(path):
        raise DatasetError(f"{printable(source)}: this is a folder, expected a file; rename the folder")
    names = [path]
    if not exists(path) and glob.has_magic(source):
        names = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - absolute patterns
    if not names or not exists(names[0]):
        raise DatasetError(f"{printable(source)}: there is no such file; check the path")
    for name in names:
        full = os.path.abspath(name)  # noqa: PTH100
        if full.lower().endswith(TAR):
            yield from list_tar(full, name=str(name))
        else:
            yield from list_manifest(full, folder=os.path.dirname(full))  # noqa: PTH120


def _expand_remote(url: str) -> Iterator[Item]:
    lower = url.lower()
    if lower.endswith(TAR) and not glob.has_magic(url):
        yield from list_tar(url, name=url)
    elif lower.endswith(MANIFESTS) and not glob.has_magic(url):
        yield from list_manifest(url, folder=url.rpartition("/")[0])
    else:
        found = list(_find_remote(url))
        if not found:
            raise ImageError(
                f"{printable(url)}: no image found; looked for names ending in {' '.join(SUFFIXES)}"
            )
        for name in found:
            if name.lower().endswith(TAR):
                yield from list_tar(name, name=name)
            else:
                yield Item(id=name, path=name)


def _find_remote(url: str) -> list[str]:
    """Return the images of a remote folder (with its subfolders) or pattern, sorted, or a single file."""
    system, name = remote_file_system(url)
    try:
        if glob.has_magic(name):
            names = system.glob(name)
        elif system.isdir(name):
            names = system.find(name)
        else:
            return [url]
    except Exception as error:  # each file system has errors of its own
        raise DatasetError(f"{printable(url)}: cannot be listed ({describe(error)})") from error
    endings = (*SUFFIXES, *TAR)
    return [str(system.unstrip_protocol(found)) for found in sorted(names) if found.lower().endswith(endings)]


def _storable(item: Item) -> Item:
    """Return an item whose texts are UTF-8; other names are escaped, and the image goes to quarantine."""
    try:
        f"{item.id}{item.path}".encode()
    except UnicodeEncodeError:
        return Item(
            id=_escaped(item.id),
            path=_escaped(item.path),
            problem=f"{printable(item.path)}: the name is not valid UTF-8; rename the file",
        )
    return item


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _check_unique(items: Sequence[Item]) -> None:
    """Raise DatasetError if two items have the same id."""
    first: dict[str, Item] = {}
    for item in items:
        if (other := first.setdefault(item.id, item)) is not item:
            same = "twice" if other.path == item.path else f"for {printable(other.path)} and"
            raise DatasetError(
                f"the id {printable(item.id)} is given {same} "
                f"{'' if other.path == item.path else printable(item.path)}".rstrip()
                + "; ids must be unique: remove one, or use a manifest with a column id"
            )
