"""Images kept for measuring: by a hash of their file names, so the split needs no file and never moves."""

import hashlib


def is_held_out(path: str, share: float) -> bool:
    """Whether the image at `path` is among the `share` (0..1, in steps of 1/256) that is never trained on.

    An image that is held out at one share is so at every larger one.
    """
    name = path.rsplit("/", maxsplit=1)[-1]
    return hashlib.sha256(name.encode()).digest()[0] < 256 * share
