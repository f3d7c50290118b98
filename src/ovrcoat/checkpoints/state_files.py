"""Read the state dict of a published file, in all forms in which training code saves one.

Nothing in a file is executed: PyTorch files are read with `weights_only=True`.
"""

import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ovrcoat.checkpoints.file_kinds import (
    INDEX_ENDING,
    check_unpacked_size,
    is_pytorch,
    is_safetensors,
    not_a_checkpoint,
    shard_paths,
)
from ovrcoat.checkpoints.fitting import listing
from ovrcoat.errors import CheckpointError
from ovrcoat.system.documents import parse_json
from ovrcoat.system.input_files import REPORT, WEIGHTS, check_input, open_input, read_input
from ovrcoat.system.paths import is_file, is_folder

# Keys under which training code stores a state dict, in the order in which they are searched.
WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "network", "net", "params", "weights")
MAX_TENSORS = 20_000  # many times as many as the networks that can be converted have
MAX_DEPTH = 3  # of wrappers inside each other
# Parts of a key that wrappers of modules add: torch.compile, FSDP, activation checkpointing.
WRAPPER_PARTS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Prefixes that all keys can share: DataParallel, Lightning.
PREFIXES = ("module.", "model.", "network.", "net.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a published file.

    Accepted are `.safetensors` files, also in several parts (given by one part, or by the index), and files
    of PyTorch whose state dict is at the top level or under one of `WRAPPERS`. Prefixes that wrappers of
    modules add to all keys ("module.", "_orig_mod.") are removed.

    Raises:
        CheckpointError: the file is missing, damaged, could execute code, or contains no state dict.
    """
    if is_folder(path):
        raise CheckpointError(f"{path} is a folder; give the file with the weights in it")
    if not is_file(path):
        raise CheckpointError(f"there is no file {path}; give the path of published weights")
    if path.name.endswith(INDEX_ENDING):
        return without_prefixes(_read_parts(_indexed_parts(path), owner=path))
    if (reason := not_a_checkpoint(path)) is not None:
        raise CheckpointError(f"{path.name} cannot be read: it {reason}")
    if is_safetensors(path) or (path.suffix == ".safetensors" and not is_pytorch(path)):
        return without_prefixes(_read_parts(shard_paths(path) or [path], owner=path))
    return without_prefixes(_unwrapped(_unpickled(path), path.name))


def without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the parts of keys that wrappers of modules have added.

    Raises:
        CheckpointError: there are more than `MAX_TENSORS`.
    """
    _check_count(len(state))
    state = {WRAPPER_PARTS.sub("", key): value for key, value in state.items()}
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        if not state:
            break
    return state


def _check_count(tensors: int) -> None:
    if tensors > MAX_TENSORS:
        raise CheckpointError(
            f"the file holds {tensors:,} tensors, expected at most {MAX_TENSORS:,}; it is another model"
        )


def _indexed_parts(path: Path) -> list[Path]:
    """Return the parts that an index of Hugging Face lists."""
    try:
        listed = parse_json(read_input(path, REPORT))["weight_map"].values()
        names = sorted({str(name) for name in listed})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'{path.name} is not an index of weights (expected JSON with "weight_map"): {error}; '
            "download it again"
        ) from error
    if outside := [name for name in names if Path(name).name != name]:
        raise CheckpointError(
            f"{path.name} lists files in other folders: {listing(outside)}; expected plain names"
        )
    return [path.with_name(name) for name in names]


def _read_parts(paths: list[Path], *, owner: Path) -> dict[str, Tensor]:
    if missing := [path.name for path in paths if not is_file(path)]:
        raise CheckpointError(
            f"{owner.name} belongs to a checkpoint of {len(paths)} parts, of which {len(missing)} are "
            f"missing in its folder: {listing(missing)}; download all parts into one folder"
        )
    state: dict[str, Tensor] = {}
    for path in paths:
        if (reason := not_a_checkpoint(path)) is not None:
            raise CheckpointError(f"{path.name} cannot be read: it {reason}")
        try:
            check_input(path, WEIGHTS)
            with safe_open(path, framework="pt") as file:  # reads the header only
                _check_count(len(state) + len(file.keys()))
            state |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path.name} cannot be read ({error}); download it again") from error
    return state


def _unwrapped(payload: object, name: str) -> dict[str, Tensor]:
    """Return the state dict inside the content of a PyTorch file."""
    state = payload
    for _ in range(MAX_DEPTH):
        inner = (
            next((state[key] for key in WRAPPERS if key in state), None) if isinstance(state, dict) else None
        )
        if inner is None or isinstance(inner, Tensor):
            break
        state = inner
    where = f"at the top level or under one of {', '.join(map(repr, WRAPPERS))}"
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{name} contains no state dict, expected one {where}")
    if wrong := [str(key) for key, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(
            f"{name}: the values of {listing(wrong)} are not tensors, expected a state dict {where}"
        )
    return {str(key): value for key, value in state.items()}


def _unpickled(path: Path) -> object:
    """Read a PyTorch file without executing any code in it."""
    try:
        # PyTorch warns about pickles that it then rejects. Given a path, it would go by the suffix.
        check_unpacked_size(path)
        with warnings.catch_warnings(action="ignore"), open_input(path, WEIGHTS) as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_pytorch(path):
            raise CheckpointError(
                f"{path.name} cannot be read: it is not a file of PyTorch weights; download it again"
            ) from error
        raise CheckpointError(
            f"{path.name} was rejected and nothing in it was executed: it contains more than plain weights, "
            f"which could execute code ({_reason(str(error))}). Request a plain state dict from its author"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # the unpickler has all kinds of errors for damaged files
        raise CheckpointError(
            f"{path.name} cannot be read ({_reason(str(error))}). It is truncated, or not a file of PyTorch "
            "weights; download it again"
        ) from error


def _reason(message: str) -> str:
    """Return the reason in PyTorch's long message, without its advice to switch off safe loading."""
    if found := re.search(r"WeightsUnpickler error:\s*(.+)", message):
        return found[1].split(" Please ")[0].strip()[:200]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = next((line for line in lines if "Unsupported" in line), lines[0] if lines else "no reason given")
    return "PyTorch gives no other reason" if "weights_only" in reason else reason[:200]
