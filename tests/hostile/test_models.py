"""Checkpoints and published weights: settings that ask for endless work, damaged and enlarged files."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile import zeros
from hostile.harness import Zygote
from hostile.scenes import NANO, pytorch_file

HUGE = 10**9
SETTINGS: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "a short side of 20,000": (("config", "inference", "short_side"), 20_000),
    "a long side of 100,000": (("config", "inference", "max_long_side"), 100_000),
    "both sides": (("config", "inference"), {"short_side": 100_000, "max_long_side": 100_000}),
    "a negative side": (("config", "inference", "short_side"), -1),
    "a side that is no number": (("config", "inference", "short_side"), "x" * 10_000),
    "a side of 10³⁰⁰": (("config", "inference", "short_side"), 10**300),
    "30,000 queries": (("config", "mask_decoder", "queries"), 30_000),
    "no queries": (("config", "mask_decoder", "queries"), 0),
    "100,000 channels": (("config", "mask_decoder", "channels"), 99_968),
    "100,000 feed-forward units": (("config", "mask_decoder", "feed_forward"), 100_000),
    "256 layers": (("config", "mask_decoder", "layers"), 256),
    "10⁹ layers": (("config", "mask_decoder", "layers"), HUGE),
    "10⁹ heads": (("config", "mask_decoder", "heads"), HUGE),
    "10⁹ points": (("config", "pixel_decoder", "points"), HUGE),
    "100,000 points": (("config", "pixel_decoder", "points"), 100_000),
    "a wide text tower": (("config", "encoder", "text"), {"width": 100_000, "heads": 1}),
    "a deep text tower": (("config", "encoder", "text"), {"layers": 256}),
    "many positions": (("config", "encoder", "text"), {"positions": 100_000, "vocabulary_size": 100_000}),
    "another family": (("config", "encoder"), {"family": "x"}),
    "no encoder": (("config", "encoder"), None),
    "2,000,000 templates": (("config", "templates"), ["{}"] * 2_000_000),
    "201 templates": (("config", "templates"), ["{}"] * 201),
    "no templates": (("config", "templates"), []),
    "a template without a name": (("config", "templates"), ["a photo"]),
    "a template with 100,000 names": (("config", "templates"), ["{}" * 100_000]),
    "a template with an attribute": (("config", "templates"), ["{0.__class__}"]),
    "a template with a width": (("config", "templates"), ["{:>1000000000}"]),
    "a template of 1 MB": (("config", "templates"), ["{}" + "a" * 1_000_000]),
    "templates as text": (("config", "templates"), "{}"),
    "an alpha of NaN": (("config", "inference", "alpha"), float("nan")),
    "an unknown setting": (("config", "x" * 10_000), 1),
    "10⁹ instances": (("config", "inference", "instances"), HUGE),
    "100,000 instances": (("config", "inference", "instances"), 100_000),
    "no configuration": (("config",), None),
    "a vocabulary of 6,000": (
        ("training_vocabulary", "categories"),
        [{"name": f"a{n}"} for n in range(6_000)],
    ),
    "a vocabulary that is a number": (("training_vocabulary",), 7),
    "provenance of 10 MB": (("provenance", "source"), "x" * 10_000_000),
    "provenance that is a list": (("provenance",), [1]),
    "a part in another folder": (("parts",), {"../../x.safetensors": "0"}),
    "a part from the root": (("parts",), {"/etc/passwd.safetensors": "0"}),
    "a part that is itself": (("parts",), {"m.safetensors": "0"}),
    "100,000 parts": (("parts",), {f"{n}.safetensors": "0" for n in range(100_000)}),
    "parts that are a number": (("parts",), 5),
    "a million known names": (("known_names",), ["a"] * 1_000_000),
    "known names that are text": (("known_names",), "cat"),
    "format version 10⁹": (("format_version",), HUGE),
    "format version null": (("format_version",), None),
}


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and its data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture(scope="module")
def nano() -> tuple[dict[str, Any], bytes]:
    return split(NANO.read_bytes())


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings(kind: str, nano: tuple[dict[str, Any], bytes], tmp_path: Path, zygote: Zygote):
    header, data = nano
    description = json.loads(header["__metadata__"]["ovrcoat"])
    path, value = SETTINGS[kind]
    parent = description
    for key in path[:-1]:
        parent = parent.setdefault(key, {})
    is_change = isinstance(value, dict) and path[-1] in ("inference", "text")
    parent[path[-1]] = parent[path[-1]] | value if is_change else value
    changed = header | {"__metadata__": {"ovrcoat": json.dumps(description)}}
    (tmp_path / "m.safetensors").write_bytes(joined(changed, data[:4096]))
    for shard in NANO.parent.glob("*.safetensors"):
        (tmp_path / shard.name).symlink_to(shard)
    zygote.run("load_model", path=str(tmp_path / "m.safetensors")).assert_refused()


EMPTY_TENSOR = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
HEADERS: dict[str, Callable[[], bytes]] = {
    "an empty header": lambda: joined({}, b""),
    "a length of 2⁶³": lambda: (2**63).to_bytes(8, "little") + b"{}",
    "a length of 100 MB": lambda: (99_999_999).to_bytes(8, "little") + b"{" + bytes(1_000),
    "a deep header": lambda: joined(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "a header that is a list": lambda: joined(b"[]", b""),
    "a header of spaces": lambda: joined(b"{" + b" " * 50_000_000 + b"}", b""),
    "metadata that is deep": lambda: joined({"__metadata__": {"ovrcoat": "[" * 100_000}}, b""),
    "metadata that is a list": lambda: joined({"__metadata__": {"ovrcoat": "[]"}}, b""),
    "metadata that is a number": lambda: joined({"__metadata__": {"ovrcoat": 5}}, b""),
    "metadata that is null": lambda: joined({"__metadata__": {"ovrcoat": "null"}}, b""),
    "metadata that is a list of 100 MB": lambda: joined(
        {"__metadata__": {"ovrcoat": "[" + "[]," * 30_000_000 + "0]"}}, b""
    ),
    "a tensor of 2⁶² bytes": lambda: joined(
        {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}, b""
    ),
    "a tensor of negative size": lambda: joined(
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "a tensor of 64 axes": lambda: joined(
        {"a": {"dtype": "F32", "shape": [1] * 64, "data_offsets": [0, 4]}}, bytes(4)
    ),
    "a tensor of 100,000 axes": lambda: joined(
        {"a": {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]}}, bytes(4)
    ),
    "a tensor of unknown type": lambda: joined(
        {"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "tensors that overlap": lambda: joined(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)
    ),
    "200,000 tensors": lambda: joined(b"{" + b",".join(EMPTY_TENSOR % n for n in range(200_000)) + b"}", b""),
}


@pytest.mark.parametrize("command", ["load_model", "convert"])
@pytest.mark.parametrize("kind", HEADERS)
def test_safetensors(kind: str, command: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "m.safetensors"
    path.write_bytes(HEADERS[kind]())
    if command == "convert":
        zygote.command(command, path, tmp_path / "out.safetensors", "--clip", path).assert_refused()
    else:
        zygote.run(command, path=str(path)).assert_refused()


class Evil:
    """Runs a command when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.path)!r}, 'w')",))


def inflating(size: int) -> bytes:
    """A PyTorch file of which one storage unpacks to `size` bytes."""
    import torch

    plain = pytorch_file({"model": {"a": torch.zeros(1 << 20)}})
    with io.BytesIO() as file:
        with (
            zipfile.ZipFile(io.BytesIO(plain)) as given,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
        ):
            for info in given.infolist():
                if info.filename.endswith("/data/0"):
                    zeros.add_member(packed, info.filename, size)
                else:
                    packed.writestr(info.filename, given.read(info))
        return file.getvalue()


def stating_elements(count: int) -> bytes:
    """A PyTorch file whose tensor states more elements than its storage has."""
    import torch

    content = pytorch_file({"model": {"a": torch.zeros(300)}})
    with io.BytesIO() as file:
        with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(file, "w") as packed:
            for info in given.infolist():
                data = given.read(info)
                if info.filename.endswith("data.pkl"):
                    data = data.replace(b"M" + struct.pack("<H", 300), b"J" + struct.pack("<i", count))
                packed.writestr(info.filename, data)
        return file.getvalue()


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"model": value}
    return value


PUBLISHED: dict[str, Callable[[Path], bytes]] = {
    "a command": lambda path: pickle.dumps(Evil(path)),
    "a command in a zip": lambda path: with_pickle(pickle.dumps(Evil(path))),
    "a storage of 6 GiB": lambda path: inflating(6 << 30),
    "a storage of 1 GiB": lambda path: inflating(1 << 30),
    "2³⁰ elements": lambda path: stating_elements(1 << 30),
    "negative elements": lambda path: stating_elements(-1),
    "an old pickle": lambda path: pickle.dumps({"model": {"a": [0] * 1_000}}),
    "a pickle of 100 MB": lambda path: pickle.dumps([[]] * 30_000_000),
    "deep lists": lambda path: b"\x80\x02" + b"]" * 1_000_000 + b".",
    "tuples that double": lambda path: b"\x80\x02K\x01" + b"2\x86" * 60 + b".",
    "memo without end": lambda path: b"\x80\x02]" + b"r\xff\xff\xff\xff" * 100_000 + b".",
    "a long number": lambda path: b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1" * 1_000 + b".",
    "a text of 2 GiB": lambda path: b"\x80\x04\x8d" + struct.pack("<Q", 2 << 30) + b"a" * 1_000 + b".",
    "bytes of 2⁶²": lambda path: b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"a" * 1_000 + b".",
    "wrappers in wrappers": lambda path: pytorch_file(nested(50)),
    "no tensors": lambda path: pytorch_file({"model": {"a": "b"}}),
    "keys that are no text": lambda path: pytorch_file({"model": {5: 5, None: 1}}),
    "keys of 1 MB": lambda path: pytorch_file({"model": {"x" * 1_000_000: 5}}),
    "a list": lambda path: pytorch_file([1, 2, 3]),
    "a number": lambda path: pytorch_file(5),
    "cut off": lambda path: pytorch_file({"model": {"a": 5}})[:300],
    "a zip of something else": lambda path: with_pickle(b"", name="x/readme.txt"),
    "an empty pickle": lambda path: b"\x80\x02.",
    "TorchScript": lambda path: with_pickle(b"\x80\x02N.", name="m/constants.pkl"),
}


def with_pickle(content: bytes, name: str = "m/data.pkl") -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr(name, content)
            packed.writestr("m/version", "3\n")
        return file.getvalue()


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_weights(kind: str, tmp_path: Path, zygote: Zygote):
    path, proof = tmp_path / "m.pth", tmp_path / "executed"
    path.write_bytes(PUBLISHED[kind](proof))
    zygote.command("convert", path, tmp_path / "out.safetensors", "--clip", path).assert_refused()
    assert not proof.exists()


@pytest.mark.parametrize("kind", PUBLISHED)
def test_training_state(kind: str, tmp_path: Path, zygote: Zygote):
    path, proof = tmp_path / "state.pt", tmp_path / "executed"
    path.write_bytes(PUBLISHED[kind](proof))
    zygote.run("resume_training", path=str(path)).assert_refused()
    assert not proof.exists()
