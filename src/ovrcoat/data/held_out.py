"""Held-out images for validation, chosen by a hash of the file name: needs no list and never changes."""

import hashlib


def is_held_out(path: str, share: float) -> bool:
    """Return whether an image is held out from training.

    An image that is held out at one share is held out at every larger one.

    Args:
        path: Path of the image; only its file name counts.
        share: Fraction of the images to hold out, 0..1 in steps of 1/256.
    """
    name = path.rsplit("/", maxsplit=1)[-1]
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[0] < 256 * share
