"""Gigabytes of compressed zeros, made in milliseconds.

After a full flush, a deflate stream does not refer to what came before. So one compressed block of zeros is
repeated, and the checksums are computed from the number of zeros.
"""

import zipfile
import zlib
from functools import cache, reduce
from operator import xor

BLOCK = 1 << 24
ALL_BITS = 0xFFFFFFFF
ADLER_BASE = 65_521


@cache
def _flushed(content: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def deflated(size: int, *, before: bytes = b"") -> bytes:
    """Return a raw deflate stream of `before` and `size` zeros."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    end = packer.compress(bytes(size % BLOCK)) + packer.flush()
    return _flushed(before) + _flushed(bytes(BLOCK)) * (size // BLOCK) + end


def zlib_stream(size: int) -> bytes:
    """Return what `zlib.decompress` turns into `size` zeros."""
    adler = size % ADLER_BASE << 16 | 1
    return b"\x78\xda" + deflated(size) + adler.to_bytes(4, "big")


def crc32(size: int, *, before: bytes = b"") -> int:
    """Return the CRC-32 of `before` and `size` zeros.

    A zero changes the bits of the checksum by a linear map. `size` zeros are a power of its matrix.
    """
    columns = [zlib.crc32(b"\0", 1 << bit ^ ALL_BITS) ^ ALL_BITS for bit in range(32)]
    bits = zlib.crc32(before) ^ ALL_BITS
    while size:
        if size & 1:
            bits = _product(columns, bits)
        columns = [_product(columns, column) for column in columns]
        size >>= 1
    return bits ^ ALL_BITS


def _product(columns: list[int], bits: int) -> int:
    return reduce(xor, (column for number, column in enumerate(columns) if bits >> number & 1), 0)


def add_member(packed: zipfile.ZipFile, name: str, size: int, *, before: bytes = b"") -> None:
    """Add a member that unpacks to `before` and `size` zeros to a new zip file."""
    content = deflated(size, before=before)
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size, info.compress_size = len(before) + size, len(content)
    info.CRC = crc32(size, before=before)
    assert packed.fp
    info.header_offset = packed.fp.tell()
    packed.fp.write(info.FileHeader(zip64=True) + content)
    packed.start_dir = packed.fp.tell()
    packed.filelist.append(info)
    packed.NameToInfo[name] = info
