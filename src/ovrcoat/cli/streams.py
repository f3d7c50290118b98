"""Standard streams that are missing, closed or full: the work goes on, and the exit status tells."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class SafeStream:
    """A standard stream that never raises: after an error, further output is discarded.

    Attributes:
        error: the first error of the stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write text, or discard it after an error."""
        if self.error is None:
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it failed."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fail(self, error: OSError | ValueError) -> None:
        self.error = error
        # what is still buffered would fail again when Python closes the stream
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextmanager
def safe_streams() -> Iterator[tuple[SafeStream, SafeStream]]:
    """Replace stdout and stderr by streams that never raise; yields both.

    A missing stream (closed by the parent process, or a program without a console) is replaced by the null
    device.
    """
    _fill_descriptors()
    earlier = sys.stdout, sys.stderr
    streams = []
    for stream in earlier:
        existing = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        if hasattr(existing, "reconfigure"):
            # characters that the stream's encoding lacks are escaped instead of ending the run
            existing.reconfigure(errors="backslashreplace")
        streams.append(SafeStream(existing))
    stdout, stderr = streams
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield stdout, stderr
    finally:
        stdout.flush()
        stderr.flush()
        sys.stdout, sys.stderr = earlier


def _fill_descriptors() -> None:
    """Open the null device as every standard descriptor that is closed.

    Otherwise the next file that is opened would get its number, and what a library prints would go there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
