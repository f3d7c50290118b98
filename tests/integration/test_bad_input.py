"""What users get wrong, at the command line: each has its message or its documented right result."""

import os
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from ovrcoat.checkpoints import native
from ovrcoat.config import MaskDecoderConfig, ModelConfig, NanoConfig, NanoTextConfig, PixelDecoderConfig
from ovrcoat.model.network import build_network
from ovrcoat.vocabulary import Vocabulary

WORDS = ("--vocabulary", "cat; sky#stuff", "--overlap-threshold", 0)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims to be 60,000 × 60,000."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.jpg": (lambda path: None, "missing.jpg: there is no such file; check the path"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty.jpg: the file is empty"),
    "truncated.png": (truncated, "truncated.png: the image is truncated or damaged"),
    "text.jpg": (lambda path: path.write_text("hello"), "text.jpg: not an image in a supported format"),
    "bomb.png": (bomb, "bomb.png: "),
}


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_bad_image_is_told_skipped_and_listed(ovrcoat, folder: Path, name: str):
    make, message = UNREADABLE[name]
    make(folder / name)
    outcome = ovrcoat("segment", name, "photo.jpg", *WORDS, "--json", "--output", "out")
    assert outcome.status == 1
    assert f"error: {message}" in outcome.err
    document = outcome.document
    assert [image["file"] for image in document["images"]] == ["photo.jpg"]
    (failure,) = document["failed"]
    assert failure["file"] == name
    assert failure["error"].startswith(message)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "panoptic.json",
        "photo.overlay.jpg",
        "photo.png",
    ]


def save_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise
    Image.new("RGB", (48, 32), "red").save(path, exif=exif)


def save_animated(path: Path) -> None:
    frames = [Image.new("P", (48, 32), color) for color in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


ODD: dict[str, tuple[Callable[[Path], object], tuple[int, int]]] = {
    "one.png": (lambda path: Image.new("RGB", (1, 1)).save(path), (1, 1)),
    "strip.png": (lambda path: Image.new("RGB", (20_000, 3)).save(path), (20_000, 3)),
    "grey.png": (lambda path: Image.new("L", (48, 32), 90).save(path), (48, 32)),
    "palette.png": (lambda path: Image.new("P", (48, 32), 5).save(path), (48, 32)),
    "rgba.png": (lambda path: Image.new("RGBA", (48, 32), (9, 99, 9, 50)).save(path), (48, 32)),
    "cmyk.jpg": (lambda path: Image.new("CMYK", (48, 32), (9, 99, 9, 50)).save(path), (48, 32)),
    "deep.png": (lambda path: Image.fromarray(np.full((32, 48), 40_000, np.uint16)).save(path), (48, 32)),
    "rotated.jpg": (save_rotated, (32, 48)),
    "animated.gif": (save_animated, (48, 32)),
}


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_segmented_at_the_size_that_their_viewer_sees(ovrcoat, folder: Path, name: str):
    make, (width, height) = ODD[name]
    make(folder / name)
    outcome = ovrcoat("segment", name, *WORDS, "--json", "--output", "out")
    assert (outcome.status, outcome.document["failed"]) == (0, [])
    (image,) = outcome.document["images"]
    assert (image["width"], image["height"]) == (width, height)
    for written in image["written"]:
        with Image.open(written) as image:
            assert image.size[0] >= width if "overlay" in written else image.size == (width, height)


@pytest.mark.usefixtures("tiny_model")
def test_an_output_folder_that_is_a_file(ovrcoat, folder: Path):
    (folder / "out").write_text("mine")
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--output", "out")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: cannot write into out: it is a file" in outcome.err
    assert (folder / "out").read_text() == "mine"


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(ovrcoat, folder: Path):
    (folder / "closed").mkdir(mode=0o500)
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--output", "closed/out")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: cannot make the folder closed/out" in outcome.err


@pytest.mark.usefixtures("tiny_model")
def test_results_never_replace_a_picture_that_is_not_ours(ovrcoat, folder: Path):
    Image.new("RGB", (32, 32), "red").save(folder / "mine.png")
    before = (folder / "mine.png").read_bytes()
    outcome = ovrcoat("segment", "mine.png", *WORDS, "--output", ".")
    assert outcome.status == 2
    assert "mine.png exists and was not written by ovrcoat" in outcome.err
    assert (folder / "mine.png").read_bytes() == before
    assert ovrcoat("segment", "mine.png", *WORDS, "--output", ".", "--overwrite").status == 0
    assert (folder / "mine.png").read_bytes() != before


def test_a_run_that_cannot_start_leaves_the_earlier_result(ovrcoat, folder: Path):
    (folder / "out").mkdir()
    (folder / "out" / "panoptic.json").write_text("earlier")
    assert ovrcoat("segment", "photo.jpg", "--model", "nan", "--output", "out").status == 2
    assert (folder / "out" / "panoptic.json").read_text() == "earlier"


def test_an_unknown_model(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--model", "nanno")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: unknown model 'nanno', expected one of nano, " in outcome.err
    assert "did you mean 'nano'?" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_unknown_device(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--device", "cuda:77")
    assert outcome.status == 2
    assert "error: no device 'cuda:77' on this machine; available: " in outcome.err


@pytest.mark.usefixtures("tiny_model")
def test_an_unknown_preset_is_taken_as_a_word_and_doubted(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", "ade20")
    assert outcome.status == 0
    assert "warning: 'ade20' is used as a class name; did you mean the preset 'ade20k'?" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the vocabulary contains no class names"),
        ("cat; kitty, cat", "names belong to more than one category"),
        ("ca\x07t", "names contain line breaks, control or invisible characters"),
        ("missing.txt", "missing.txt"),
    ],
)
def test_words_that_cannot_be_used(ovrcoat, folder: Path, words: str, message: str):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", words)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err


@pytest.mark.usefixtures("tiny_model")
def test_a_name_longer_than_the_text_tower_takes(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", "dog; " + "very " * 40 + "long cat")
    assert (outcome.status, outcome.out) == (2, "")
    assert re.search(r"names are too long: the model's text tower takes \d+ tokens", outcome.err)
    assert not (folder / "ovrcoat-output").exists()


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trust", 1.5), "trust"),
        (("--threshold", -1), "threshold"),
        (("--batch-size", 0), "batch_size is 0, expected 1 or more"),
    ],
)
def test_settings_out_of_range(ovrcoat, folder: Path, options: tuple[object, ...], message: str):
    outcome = ovrcoat("segment", "photo.jpg", *WORDS[:2], *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert message in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment",), "needs SOURCES"),
        (("segment", "a.jpg", "--task", "panotic"), 'Choose from: "panoptic", "semantic", "instance"'),
        (("segment", "a.jpg", "--trust", "much"), "'much' is not valid; expected a number or adaptive"),
        (("segment", "a.jpg", "--vocabluary", "cat"), "Unknown option"),
        (("sgment", "a.jpg"), 'Did you mean "segment"?'),
    ],
)
def test_wrong_usage(ovrcoat, arguments: tuple[str, ...], message: str):
    outcome = ovrcoat(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_no_image_is_found(ovrcoat, folder: Path):
    (folder / "empty").mkdir()
    outcome = ovrcoat("segment", "empty", *WORDS)
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: empty: no image found in this folder" in outcome.err


def test_debug_shows_where_an_error_comes_from(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", "", "--debug")
    assert outcome.status == 2
    assert "Traceback (most recent call last)" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: the vocabulary contains no class names")


class Hostile:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("executed",)


def test_a_pickle_that_executes_code_is_refused_and_not_run(ovrcoat, folder: Path):
    torch.save({"model": Hostile()}, folder / "hostile.pth")
    (folder / "plain.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    for name in ("hostile.pth", "plain.pth"):
        outcome = ovrcoat("convert", name, "out.safetensors")
        assert (outcome.status, outcome.out) == (2, "")
        assert f"error: {name}" in outcome.err
    assert not (folder / "executed").exists()
    assert not (folder / "out.safetensors").exists()


def test_a_pth_file_as_model_names_convert(ovrcoat, folder: Path):
    torch.save({"model": {}}, folder / "published.pth")
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--model", "published.pth")
    assert outcome.status == 2
    assert "ovrcoat convert published.pth" in outcome.err


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours with random weights."""
    config = ModelConfig(
        encoder=NanoConfig(
            embedding_dim=8,
            text=NanoTextConfig(width=8, heads=1, layers=1, feed_forward=8, vocabulary_size=99),
        ),
        pixel_decoder=PixelDecoderConfig(channels=32, mask_channels=8, layers=1, feed_forward=8),
        mask_decoder=MaskDecoderConfig(channels=32, queries=2, layers=1, feed_forward=8),
    )
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    native.save(
        path,
        build_network(config),
        config=config,
        training_vocabulary=Vocabulary.parse("cat"),
        provenance={"source": "random"},
        dtype=torch.float16,
    )
    return path


def test_a_truncated_model(ovrcoat, folder: Path, small_model: Path):
    (folder / "cut.safetensors").write_bytes(small_model.read_bytes()[:100_000])
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--model", "cut.safetensors")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: cut.safetensors cannot be read as safetensors" in outcome.err


def test_a_model_with_nan(ovrcoat, folder: Path, small_model: Path):
    with safe_open(small_model, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        metadata = file.metadata()
    spoilt = next(key for key in tensors if key.startswith("mask_decoder."))
    tensors[spoilt].view(-1)[0] = torch.nan
    save_file(tensors, folder / "nan.safetensors", metadata=metadata)
    outcome = ovrcoat("segment", "photo.jpg", *WORDS, "--model", "nan.safetensors")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: nan.safetensors" in outcome.err
    assert spoilt in outcome.err
