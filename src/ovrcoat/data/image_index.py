"""Find the images that label files of other tools refer to, whatever their paths looked like on export."""

import io
from collections import defaultdict
from pathlib import PurePosixPath

from PIL import Image

from ovrcoat.data.archive import normalize_path
from ovrcoat.data.decode import exif_orientation
from ovrcoat.data.file_kinds import OPENED_FORMATS
from ovrcoat.data.files import FileTree
from ovrcoat.data.find_images import SUFFIXES
from ovrcoat.data.pillow_warnings import pillow_warnings_ignored
from ovrcoat.errors import DatasetError
from ovrcoat.system.paths import leads_outside

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class ImageIndex:
    """The images of a dataset by path, by path without suffix, and by name.

    Args:
        tree: The files.
    """

    def __init__(self, tree: FileTree) -> None:
        self.paths = tree.list("", suffixes=SUFFIXES)
        self._known = frozenset(self.paths)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, str] = {}
        for path in self.paths:
            self._by_name[PurePosixPath(path).name].append(path)
            self._by_stem.setdefault(without_suffix(path), path)

    def find(self, file_name: str, *, folder: str) -> str | None:
        """Return the path of the image that a label file names.

        Args:
            file_name: As stated in the label file: relative to its folder, to the dataset, or a path or
                address on the computer where the images were labeled. The name alone is enough if it is
                unique.
            folder: Folder of the label file; "" is the dataset's own.
        """
        name = normalize_path(file_name.replace("\\", "/"))
        if not leads_outside(name):
            for base in (folder, f"{folder}/images", "", "images"):
                path = str(PurePosixPath(base) / name)
                if path in self._known:
                    return path
        named = self._by_name.get(PurePosixPath(name).name, [])
        below = [path for path in named if path.startswith(f"{folder}/")] if folder else named
        return below[0] if len(below) == 1 else named[0] if len(named) == 1 else None

    def find_stem(self, path: str) -> str | None:
        """Return the image with this path up to its suffix."""
        return self._by_stem.get(path)


def without_suffix(path: str) -> str:
    """Return a path without the suffix of its name."""
    return str(PurePosixPath(path).with_suffix(""))


def upright_size(content: bytes, *, location: str) -> tuple[int, int]:
    """Return the (height, width) of an image after rotation by its EXIF orientation, without decoding it.

    Raises:
        DatasetError: The content is not an image.
    """
    try:
        with (
            pillow_warnings_ignored(),
            Image.open(io.BytesIO(content), formats=OPENED_FORMATS) as image,
        ):
            width, height = image.size
            orientation, _ = exif_orientation(image)
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        raise DatasetError(
            f"{location}: the image cannot be read ({error}); copy or download it again"
        ) from error
    return (width, height) if orientation in SIDEWAYS else (height, width)
