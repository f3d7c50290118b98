"""Members of tar files of unknown origin, as positions in the file. Nothing is unpacked."""

import tarfile
from collections.abc import Iterator
from typing import IO, Any

_BLOCK = 512
# what reading a damaged tar file may raise
UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError)


def tar_members(file: IO[bytes] | Any) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an uncompressed tar file in its order.

    Links, devices and folders are left out. The bytes of sparse members are not those of their file.

    Raises:
        tarfile.TarError: the file is damaged, or ends before its end marker. Other errors: `UNREADABLE`.
    """
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            tar.members.clear()  # type: ignore[attr-defined] # tarfile keeps all headers otherwise
            if member.isreg():
                yield member
        end = tar.offset
    file.seek(end)  # tarfile ends silently at a header that it does not understand
    block = file.read(_BLOCK)
    if block != bytes(_BLOCK):
        raise tarfile.ReadError("the end marker is missing" if not block else "a header cannot be read")
