"""Fingerprints of files and of weights."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from ovrcoat.system.input_files import WEIGHTS, open_input

# Block of weights that is summed at once: 1 MB, so that the second sum reads it from the CPU cache.
SUM_WIDTH, SUM_ROWS = 2048, 64


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open_input(path, WEIGHTS) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_fingerprint(module: nn.Module, facts: object) -> str:
    """Return a fingerprint of the weights of a module and of further facts.

    It covers names, dtypes, shapes and sums of all weights and buffers. Sums are used because hashing 600 MB
    takes half a second, and adding them up a twelfth of that. The fingerprint distinguishes different
    weights, but does not protect against manipulation.

    Args:
        module: on any device.
        facts: JSON-serializable.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_sums(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()


def _sums(content: UInt8[np.ndarray, " byte"]) -> bytes:
    """Arrange bytes as rows of 64-bit integers, and return the sum of each row and of each column.

    Sums of integers are exact in any order. With sums of rows and columns, exchanging values changes the
    result. Bytes that do not fill a row are appended unchanged.
    """
    whole = len(content) - len(content) % (8 * SUM_WIDTH)
    rows = content[:whole].view(np.int64).reshape(-1, SUM_WIDTH)
    columns = np.zeros(SUM_WIDTH, dtype=np.int64)
    sums = []
    for start in range(0, len(rows), SUM_ROWS):
        block = rows[start : start + SUM_ROWS]
        sums.append(block.sum(axis=1).tobytes())
        columns += block.sum(axis=0)
    return b"".join([*sums, columns.tobytes(), content[whole:].tobytes()])
