"""Label Studio's brush RLE: a mask as run lengths of an RGBA image whose four channels are 0 or 255.

The byte stream of the npm package rle-pack, which Label Studio's frontend decodes. Its Python library
(`label_studio_sdk.converter.brush`) encodes the same stream, but depends on far more than this file needs.
"""

import numpy as np
from jaxtyping import Bool

CHANNELS = 4  # each pixel is stored four times, as red, green, blue and alpha
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # a run has a length of up to 2^16, in the fewest of these bits
_MAX_RUN = 1 << _LENGTH_BITS[-1]


def encode_brush(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return the bytes of a mask in Label Studio's format "rle", as numbers from 0 to 255."""
    pixels = mask.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = CHANNELS * np.diff(starts, append=pixels.size)
    bits = [f"{CHANNELS * pixels.size:032b}{_WORD_BITS - 1:05b}"]
    bits += [f"{length_bits - 1:04b}" for length_bits in _LENGTH_BITS]
    for start, length in zip(starts, lengths.tolist(), strict=True):
        value = f"{255 * int(pixels[start]):08b}"
        full_runs, rest = divmod(length, _MAX_RUN)
        for run in [_MAX_RUN] * full_runs + [rest] * (rest > 0):
            bits.append(f"1{_run_length(run)}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run_length(length: int) -> str:
    """Return the bits of a run's length: which of `_LENGTH_BITS`, then the length minus one."""
    choice = next(index for index, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
    return f"{choice:02b}{length - 1:0{_LENGTH_BITS[choice]}b}"
