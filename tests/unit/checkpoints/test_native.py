"""Native checkpoints: saved content is restored, and nothing else is accepted."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ovrcoat.checkpoints import native
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError, OutputError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.vocabulary import Vocabulary
from tiny_clip import make_config, make_network

WORDS = Vocabulary.parse("cat, kitty; sky#stuff")
PROVENANCE = {"source": "random weights", "licence": "none"}
TEXT_PART = {"text.safetensors": ("encoder.text_tower.",)}


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return make_network("convnext")


def save(path: Path, network: SegmentationNetwork, **options) -> Path:
    settings = {"config": make_config("convnext"), "training_vocabulary": WORDS, "provenance": PROVENANCE}
    native.save(path, network, **(settings | options))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path, network: SegmentationNetwork) -> Path:
    return save(tmp_path / "tiny.safetensors", network)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, network: SegmentationNetwork) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "tiny.safetensors", network).read_bytes()


def rewrite(path: Path, *, weights=None, description=None) -> Path:
    """The same file with other weights or metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if description is not None:
        metadata = {"ovrcoat": json.dumps(json.loads(metadata["ovrcoat"]) | description)}
    save_file(load_file(path) if weights is None else weights, path, metadata=metadata)
    return path


def test_saved_content_is_restored(checkpoint, network):
    loaded = native.load(checkpoint)
    assert loaded.config == make_config("convnext")
    assert loaded.training_vocabulary == WORDS
    assert loaded.provenance == PROVENANCE
    assert not loaded.network.training
    state = network.state_dict()
    assert loaded.network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.network.state_dict().items())
    assert not any(value.is_meta for value in (*loaded.network.parameters(), *loaded.network.buffers()))


def test_saving_again_gives_the_same_bytes(checkpoint, network, tmp_path):
    again = save(tmp_path / "again.safetensors", network)
    assert again.read_bytes() == checkpoint.read_bytes()


def test_all_users_may_read_the_file(checkpoint):
    assert checkpoint.stat().st_mode & 0o777 == 0o644


def test_half_precision_is_stored_and_restored_as_float32(tmp_path, network):
    path = save(tmp_path / "half.safetensors", network, dtype=torch.float16)
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    loaded = native.load(path).network.state_dict()
    assert all(torch.equal(loaded[key], value.half().float()) for key, value in network.state_dict().items())


def test_integers_keep_their_dtype_in_half_precision(tmp_path):
    path = tmp_path / "half.safetensors"
    save(path, make_network("resnet"), config=make_config("resnet"), dtype=torch.float16)
    counter = "encoder.visual_trunk.bn1.num_batches_tracked"
    assert native.load(path).network.state_dict()[counter].dtype == torch.int64


def test_the_header_can_be_read_alone(checkpoint):
    header = native.read_header(checkpoint)
    assert (header.config, header.training_vocabulary) == (make_config("convnext"), WORDS)
    assert (header.provenance, header.shards) == (PROVENANCE, {})


def test_shards_are_stored_next_to_the_file(tmp_path, network):
    path = save(tmp_path / "tiny.safetensors", network, shards=TEXT_PART)
    part = path.with_name("text.safetensors")
    assert all(key.startswith("encoder.text_tower.") for key in load_file(part))
    assert not any(key.startswith("encoder.text_tower.") for key in load_file(path))
    assert native.read_header(path).shards == {part.name: hashlib.sha256(part.read_bytes()).hexdigest()}
    loaded = native.load(path).network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


def test_an_unchanged_shard_is_not_written_again(tmp_path):
    network = make_network("convnext")
    path = save(tmp_path / "tiny.safetensors", network, shards=TEXT_PART)
    part = path.with_name("text.safetensors")
    before = part.stat().st_ino, part.stat().st_mtime_ns
    with torch.no_grad():
        network.text_classifier.void_embedding.add_(1)
    save(path, network, shards=TEXT_PART)
    assert (part.stat().st_ino, part.stat().st_mtime_ns) == before
    expected = network.text_classifier.void_embedding
    assert torch.equal(native.load(path).network.text_classifier.void_embedding, expected)


def test_a_missing_shard_is_named(tmp_path, network):
    path = save(tmp_path / "tiny.safetensors", network, shards=TEXT_PART)
    path.with_name("text.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"tiny\.safetensors needs text\.safetensors in the same folder"
    ):
        native.load(path)


def test_another_shard_is_rejected(tmp_path, network):
    path = save(tmp_path / "tiny.safetensors", network, shards=TEXT_PART)
    part = path.with_name("text.safetensors")
    save_file({key: value + 1 for key, value in load_file(part).items()}, part)
    with pytest.raises(
        CheckpointError, match=r"text\.safetensors is not the file that tiny.* was saved with"
    ):
        native.load(path)


@pytest.mark.parametrize(
    "name",
    [
        "../text.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "C:b.safetensors",
        ".hidden.safetensors",
        "b",
    ],
)
def test_a_shard_cannot_be_in_another_folder(tmp_path, network, name):
    with pytest.raises(CheckpointError, match="cannot be a shard, expected a plain file name"):
        save(tmp_path / "tiny.safetensors", network, shards={name: ("encoder.",)})
    path = save(tmp_path / "tiny.safetensors", network)
    with pytest.raises(CheckpointError, match="cannot be a shard"):
        native.load(rewrite(path, description={"parts": {name: "0" * 64}}))


def test_a_shard_without_weights_is_an_error(tmp_path, network):
    with pytest.raises(CheckpointError, match="no weight starts with one of"):
        save(tmp_path / "tiny.safetensors", network, shards={"text.safetensors": ("encoder.words.",)})


def test_nan_is_not_saved(tmp_path):
    network = make_network("convnext")
    with torch.no_grad():
        network.encoder.head_norm.weight[0] = torch.nan
    with pytest.raises(
        CheckpointError, match=r"NaN or infinite values in 1 weights: encoder\.head_norm\.weight"
    ):
        save(tmp_path / "tiny.safetensors", network)
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_half_precision_are_not_saved(tmp_path):
    network = make_network("convnext")
    with torch.no_grad():
        network.encoder.head_norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match="the dtype is too small"):
        save(tmp_path / "tiny.safetensors", network, dtype=torch.float16)


def test_a_path_that_cannot_be_written(tmp_path, network):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write .*tiny\.safetensors.*Choose a folder"):
        save(tmp_path / "file" / "tiny.safetensors", network)


def test_a_failed_save_keeps_the_old_file(checkpoint, network, monkeypatch):
    before = checkpoint.read_bytes()

    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(native, "save_file", fail)
    with pytest.raises(OutputError, match="disk full"):
        save(checkpoint, network)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"mask_decoder.extra": torch.zeros(1)}, r"1 unknown: mask_decoder\.extra"),
        (
            lambda w: {k: v for k, v in w.items() if k != "encoder.logit_scale"},
            r"1 missing: encoder\.logit_scale",
        ),
        (
            lambda w: w | {"encoder.head_norm.bias": torch.zeros(3)},
            r"1 of another shape: encoder\.head_norm\.bias is \(3,\), expected \(16,\)",
        ),
        (
            lambda w: w | {"encoder.head_norm.bias": torch.full((16,), torch.inf)},
            r"NaN or infinite values in 1 weights: encoder\.head_norm\.bias",
        ),
    ],
)
def test_mismatching_weights_are_named(checkpoint, change, message):
    with pytest.raises(CheckpointError, match=message):
        native.load(rewrite(checkpoint, weights=change(load_file(checkpoint))))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"format_version": 2}, "has format version 2, expected 1"),
        ({"config": {"encoder": {"family": "vit"}}}, "its metadata cannot be read"),
        ({"config": make_config("convnext").model_dump(mode="json") | {"colour": 3}}, "colour"),
        ({"training_vocabulary": {"categories": "cat"}}, "its metadata cannot be read"),
        ({"provenance": 3}, "its metadata cannot be read"),
        ({"parts": ["text.safetensors"]}, "its metadata cannot be read"),
    ],
)
def test_invalid_metadata(checkpoint, description, message):
    with pytest.raises(CheckpointError, match=message):
        native.load(rewrite(checkpoint, description=description))


def test_an_inconsistent_configuration(checkpoint):
    config = make_config("convnext").model_dump(mode="json")
    config["pixel_decoder"]["channels"] = 40  # its GroupNorm has 32 groups
    with pytest.raises(
        CheckpointError, match=r"channels of the pixel decoder is 40, expected a multiple of 32"
    ):
        native.load(rewrite(checkpoint, description={"config": config}))


def test_text_embeddings_are_restored(tmp_path, network):
    rows = {
        "cat": torch.rand(network.encoder.embedding_dim),
        "sky": torch.rand(network.encoder.embedding_dim),
    }
    path = save(tmp_path / "rows.safetensors", network, text_embeddings=rows, dtype=torch.float16)
    loaded = native.load(path)
    assert list(loaded.text_embeddings) == ["cat", "sky"]
    assert all(torch.equal(loaded.text_embeddings[name], row) for name, row in rows.items())


def test_text_embeddings_that_do_not_match_their_names(tmp_path, network):
    rows = {"cat": torch.rand(network.encoder.embedding_dim)}
    path = save(tmp_path / "rows.safetensors", network, text_embeddings=rows)
    with pytest.raises(
        CheckpointError, match=r"its text embeddings have shape \(1, \d+\), expected \(2, \d+\)"
    ):
        native.load(rewrite(path, description={"known_names": ["cat", "dog"]}))


def test_metadata_that_is_not_json(checkpoint):
    save_file(load_file(checkpoint), checkpoint, metadata={"ovrcoat": "{"})
    with pytest.raises(CheckpointError, match="its metadata cannot be read"):
        native.load(checkpoint)


def test_another_safetensors_file_is_recognized(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"not an ovrcoat checkpoint.*ovrcoat convert"):
        native.load(tmp_path / "other.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        native.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="this is a folder"):
        native.load(tmp_path)


def test_for_a_pth_file_the_error_names_convert(tmp_path):
    torch.save({"model": {}}, tmp_path / "published.pth")
    with pytest.raises(
        CheckpointError, match=r"looks like published weights; run: ovrcoat convert .*published\.pth"
    ):
        native.load(tmp_path / "published.pth")


@pytest.mark.parametrize("content", [b"", b"not weights", struct.pack("<Q", 2**60) + b"{}"])
def test_something_else(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        native.load(path)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_rejected(tmp_path, whole, share):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        native.load(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_header_raises_the_documented_error(tmp_path, whole, place, byte):
    head = 8 + struct.unpack("<Q", whole[:8])[0]
    damaged = bytearray(whole)
    damaged[int(place * head)] = byte
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    try:
        loaded = native.load(path)
    except CheckpointError:
        return
    assert isinstance(loaded.config, ModelConfig)  # the byte stood where it does not matter, or was the same


def test_reading_checkpoints_imports_no_model_library():
    """nano must start fast: timm, torchvision and open_clip take seconds."""
    script = (
        "import sys, torch, ovrcoat.checkpoints.native\n"
        "from ovrcoat.config import ModelConfig, NanoConfig\n"
        "from ovrcoat.model.network import build_network\n"
        "with torch.device('meta'): build_network(ModelConfig(encoder=NanoConfig()))\n"
        "print(sorted({'timm', 'torchvision', 'open_clip'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists a process's mapped files")
@pytest.mark.parametrize("image_dtype", [None, torch.bfloat16])
def test_a_loaded_model_does_not_keep_the_file_mapped(checkpoint, image_dtype):
    loaded = native.load(checkpoint, image_dtype=image_dtype)
    assert checkpoint.name not in Path("/proc/self/maps").read_text()
    assert next(loaded.network.parameters()).is_cpu


@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("image_dtype", [None, torch.bfloat16])
def test_a_loaded_model_does_not_change_with_its_file(tmp_path, network, dtype, image_dtype):
    width = make_config("convnext").encoder.embedding_dim
    names = {"cat": torch.full((width,), width**-0.5)}
    path = save(tmp_path / "tiny.safetensors", network, dtype=dtype, shards=TEXT_PART, text_embeddings=names)
    loaded = native.load(path, image_dtype=image_dtype)
    before = {key: value.clone() for key, value in loaded.network.state_dict().items()}
    for part in (path, tmp_path / "text.safetensors"):
        size = part.stat().st_size
        with part.open("r+b") as file:  # in place, as `cp` and many download programs write
            file.write(b"\xff" * size)
            file.truncate(size // 2)  # reading a mapped page behind the end would end the process (SIGBUS)
    after = loaded.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    torch.testing.assert_close(loaded.text_embeddings["cat"], names["cat"])


def test_a_file_that_changes_while_it_is_loaded_is_refused(checkpoint, monkeypatch):
    def assign_and_touch(*arguments, **options):
        assign(*arguments, **options)
        with checkpoint.open("r+b") as file:
            file.truncate(checkpoint.stat().st_size + 1)

    assign = native.assign_parts
    monkeypatch.setattr(native, "assign_parts", assign_and_touch)
    with pytest.raises(CheckpointError, match="was changed while it was loaded"):
        native.load(checkpoint)
