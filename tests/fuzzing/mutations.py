"""Changes of valid inputs, so that most of them pass the first checks and reach the code behind these.

Each function takes an input and a source of random numbers, and returns a changed input.
"""

import io
import json
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import yaml

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = [0, 1, 2, 3, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
VALUES: list[Any] = [None, True, False, 0, -1, 1, 2, 0.5, 12.0, -1e14, 1e308, 2**31, 2**63, 10**30]
VALUES += [
    float("nan"),
    float("inf"),
    "",
    " ",
    "cat",
    "0x1",
    "../../x",
    "/x",
    "a\0b",
    "\ud800",
    "\x1b[31m",
    "１",
]
VALUES += ["ß" * 300, "x" * 5000, [], {}, [[]], [1, 2], {"": 1}, {"a": {"b": []}}, [None] * 50, [0] * 6]
TEXT_TOKENS = (
    b"; , : # #thing #stuff \" ' \\ ( ) 0: \0 \x1b[0m \xef\xbb\xbf \xff\xfe \xe2\x80\xae \xcc\x81".split(b" ")
)
TEXT_TOKENS += [b"\n", b"\r", b"\t", b" ", b"0 ", b"id,name\n"]
YAML_TOKENS = b"*a <<: !!python/name:os.system !!timestamp 2020-99-99 0x 0b_ 1:99:99 . .inf { [ | % =".split(
    b" "
)
YAML_TOKENS += [
    b"&a ",
    b"!!binary ",
    b"!!set ",
    b"!!omap [a]",
    b"!!int x",
    b"!!float x",
    b"1e999",
    b"9" * 5000,
]
YAML_TOKENS += [b"? ", b"- ", b": ", b"---\n", b"...\n", b"\n  "]


def mutate_bytes(data: bytes, rng: random.Random, *, tokens: Sequence[bytes] = ()) -> bytes:
    """Change, insert, remove or repeat bytes in one to four places."""
    changed = bytearray(data or b"0")
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 2, 4, 8, 64)))
        changed[start:end] = _other(bytes(changed[start:end]), rng, tokens)
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.1 else changed)


def _other(piece: bytes, rng: random.Random, tokens: Sequence[bytes]) -> bytes:
    """Return what replaces a piece of an input."""
    kind = rng.choice(
        ("random", "repeated", "removed", "number", "bit", "inserted", *("token",) * bool(tokens))
    )
    if kind == "random":
        return rng.randbytes(len(piece))
    if kind == "repeated":
        return piece * rng.choice((2, 3, 50))
    if kind == "removed":
        return b""
    if kind == "number":
        size = rng.choice((1, 2, 4))
        number = rng.choice(NUMBERS) % (1 << (8 * size))
        return number.to_bytes(size, "little" if rng.random() < 0.5 else "big") + piece[size:]
    if kind == "bit":
        return bytes(byte ^ 1 << rng.randrange(8) for byte in piece)
    return piece + (rng.choice(tokens) if kind == "token" else rng.randbytes(rng.choice((1, 4))))


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Change bytes, and insert signs that vocabulary files give a meaning."""
    return mutate_bytes(data, rng, tokens=TEXT_TOKENS)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Change values of a JSON document; sometimes, and if it is none, its bytes."""
    if rng.random() < 0.15:
        return mutate_bytes(data, rng, tokens=TEXT_TOKENS)
    try:
        document = json.loads(data)
        return json.dumps(mutate_value(document, rng)).encode()
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)


def mutate_yaml(data: bytes, rng: random.Random) -> bytes:
    """Change values of a YAML document, or its bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(data, rng, tokens=YAML_TOKENS)
    try:
        document = yaml.safe_load(data)
        return yaml.safe_dump(mutate_value(document, rng), sort_keys=False).encode("utf-8", "replace")
    except Exception:  # PyYAML raises all kinds of exceptions
        return mutate_bytes(data, rng, tokens=YAML_TOKENS)


def mutate_value(document: Any, rng: random.Random) -> Any:
    """Change one to three values, keys or lists inside a JSON value."""
    box = [document]
    for _ in range(rng.randint(1, 3)):
        choices = [(box, 0), *places(box[0])]
        owner, key = rng.choice(choices)
        value = owner[key]
        choice = rng.randrange(7)
        if choice == 0 and owner is not box:
            del owner[key]
        elif choice == 1 and isinstance(owner, dict):
            owner[rng.choice((*owner, "x", ""))] = owner.pop(key)
        elif choice == 2 and isinstance(owner, list) and owner is not box:
            owner.insert(key, value)
        elif choice == 3:
            other, other_key = rng.choice(choices)
            owner[key] = json.loads(json.dumps(other[other_key]))
        elif choice == 4 and isinstance(value, int | float):
            owner[key] = rng.choice(
                (value + 1, -value, value * 1000, float(value), str(value), value * 10**12)
            )
        elif choice == 5:
            owner[key] = [value] * rng.choice((0, 1, 2, 40))
        else:
            owner[key] = rng.choice(VALUES)
    return box[0]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key or position) of every value inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, or the JSON in its metadata; sometimes bytes."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header["__metadata__"]
        choice = rng.random()
        if choice < 0.6:
            metadata["ovrcoat"] = json.dumps(mutate_value(json.loads(metadata["ovrcoat"]), rng))
        elif choice < 0.8:
            header = mutate_value(header, rng)
        else:
            return mutate_bytes(data, rng)
        text = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return mutate_bytes(data, rng)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def mutate_image(data: bytes, rng: random.Random) -> bytes:
    """Change bytes of an image; checksums of a PNG are corrected, or its decoder would stop at them."""
    changed = mutate_bytes(data, rng)
    return with_checksums(changed) if changed.startswith(b"\x89PNG") and rng.random() < 0.8 else changed


def with_checksums(png: bytes) -> bytes:
    """Return a PNG with the checksums of its chunks corrected, as far as its lengths make sense."""
    source, result = io.BytesIO(png), bytearray(png[:8])
    source.seek(8)
    while len(head := source.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        content = source.read(min(length, len(png)))
        source.read(4)
        result += head + content + zlib.crc32(head[4:] + content).to_bytes(4, "big")
    return bytes(result)
