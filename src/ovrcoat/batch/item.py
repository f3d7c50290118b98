"""Item: one image of a batch run, by its location."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ovrcoat.batch.storage import is_remote, read_range
from ovrcoat.data.images import StoredImage

Source = Path | StoredImage


@dataclass(frozen=True, slots=True)
class Item:
    """An image that a run has to process.

    Attributes:
        id: unique within a run.
        path: absolute path or URL of the image; for a member of a tar file, that of the tar file with the
            member's name.
        container: absolute path or URL of the tar file that holds the image; None for a file of its own.
        offset: first byte of the image in the container.
        nbytes: size of the image in the container.
        problem: why the image cannot be read, if that is known already.
    """

    id: str
    path: str
    container: str | None = None
    offset: int = 0
    nbytes: int = 0
    problem: str | None = None

    def source(self) -> Source:
        """Return what `read_image` accepts; it is read when it is needed, in any thread."""
        if self.container is None and not is_remote(self.path):
            return Path(self.path)
        read: Callable[[], bytes]
        if self.container is None:
            read = partial(read_range, self.path)
        else:
            read = partial(read_range, self.container, self.offset, self.nbytes)
        return StoredImage(self.path, read)
