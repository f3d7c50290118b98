"""State dicts in the forms in which training code and download pages deliver them."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ovrcoat.checkpoints import native, state_files
from ovrcoat.checkpoints.state_files import read_state, without_prefixes
from ovrcoat.errors import CheckpointError

STATE = {"backbone.a.weight": torch.ones(2), "head.bias": torch.zeros(3)}


def is_state(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "iteration": 3},
        lambda state: {"state_dict": state, "epoch": 1},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"model_state_dict": state},
        lambda state: {"module": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}},
        lambda state: {key.replace("a.", "a._orig_mod."): value for key, value in state.items()},
        lambda state: {f"_fsdp_wrapped_module.{key}": value for key, value in state.items()},
    ],
)
def test_wrappers_and_prefixes_are_removed(wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(STATE), tmp_path / "file.pth")
    assert is_state(read_state(tmp_path / "file.pth"))


def test_a_prefix_of_some_keys_stays() -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert without_prefixes(state).keys() == state.keys()
    assert without_prefixes({}) == {}


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "torch.safetensors")
    save_file(STATE, tmp_path / "tensors.pth")
    assert is_state(read_state(tmp_path / "torch.safetensors"))
    assert is_state(read_state(tmp_path / "tensors.pth"))


def write_parts(folder: Path) -> list[Path]:
    paths = [folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for path, (key, value) in zip(paths, STATE.items(), strict=True):
        save_file({key: value}, path)
    names = {key: path.name for key, path in zip(STATE, paths, strict=True)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return paths


def test_all_parts_are_read(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    for path in (*paths, tmp_path / "model.safetensors.index.json"):
        assert is_state(read_state(path))
    paths[1].unlink()
    for path in (paths[0], tmp_path / "model.safetensors.index.json"):
        with pytest.raises(
            CheckpointError, match=r"of 2 parts, of which 1 are missing.*model-00002-of-00002"
        ):
            read_state(path)
    with pytest.raises(CheckpointError, match=r"is one part of a checkpoint.*run: ovrcoat convert"):
        native.load(paths[0])


def test_too_many_tensors_are_refused_before_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({str(number): torch.ones(1) for number in range(4)}, tmp_path / "file.safetensors")
    monkeypatch.setattr(state_files, "MAX_TENSORS", 3)
    monkeypatch.setattr(state_files, "load_file", lambda path: pytest.fail("the tensors were loaded"))
    with pytest.raises(CheckpointError, match="holds 4 tensors, expected at most 3"):
        read_state(tmp_path / "file.safetensors")


def test_the_tensors_of_all_parts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_parts(tmp_path)
    monkeypatch.setattr(state_files, "MAX_TENSORS", 1)
    with pytest.raises(CheckpointError, match="holds 2 tensors, expected at most 1"):
        read_state(paths[0])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}'])
def test_an_invalid_index_is_reported(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"is not an index of weights|files in other folders"):
        read_state(tmp_path / "model.safetensors.index.json")


KINDS = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "Git LFS pointer.*git lfs pull",
    b"\n<!DOCTYPE html><html><body>Sign in</body></html>": "is a web page, not weights",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "is a web page, not weights",
    b'{"error": "Repository not found"}': "is JSON text, not weights",
    b"": "is empty",
    bytes(4096): "holds only zeros",
    b"\x1f\x8b\x08\x00": "compressed with gzip; unpack it",
    b"GGUF\x03": "GGUF file",
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", KINDS)
def test_files_that_are_no_weights_are_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights{suffix} cannot be read: it .*{KINDS[content]}"):
        read_state(path)
    with pytest.raises(CheckpointError, match=rf"cannot be read as safetensors: it .*{KINDS[content]}"):
        native.load(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder; give the file"):
        read_state(tmp_path)


class Custom:
    """A class of training code."""


@pytest.mark.parametrize("save", [torch.save, lambda payload, path: path.write_bytes(pickle.dumps(payload))])
def test_no_message_advises_unsafe_loading(save: Any, tmp_path: Path) -> None:
    save({"model": STATE, "settings": Custom()}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="was rejected and nothing in it was executed") as caught:
        read_state(tmp_path / "file.pth")
    message = str(caught.value)
    assert "weights_only" not in message
    assert "safe_globals" not in message
    assert "\n" not in message


def test_a_resaved_checkpoint_without_metadata_is_named(tmp_path: Path) -> None:
    save_file({"encoder.a": torch.ones(1), "mask_decoder.b": torch.ones(1)}, tmp_path / "again.safetensors")
    with pytest.raises(CheckpointError, match=r"its metadata .* is missing: another program saved it again"):
        native.load(tmp_path / "again.safetensors")
