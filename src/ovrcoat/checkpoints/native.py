"""Native checkpoints: a .safetensors file with the weights and everything needed to use them.

The metadata contains, as JSON under the key "ovrcoat", the format version, the model configuration, the
training vocabulary and the provenance. Some tensors may be stored in further files in the same folder
("shards", identified by their SHA-256). Then retraining one part of a network does not change the files of
the other parts.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ovrcoat.checkpoints.file_kinds import is_pytorch, not_a_checkpoint, shard_paths
from ovrcoat.checkpoints.fitting import assign_parts, check_finite
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError, ConfigError, OutputError, VocabularyError
from ovrcoat.model.network import SegmentationNetwork, build_network, check_encoder
from ovrcoat.system.atomic_write import new_part_path, sync
from ovrcoat.system.documents import parse_json
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.system.input_files import WEIGHTS, check_input
from ovrcoat.system.paths import is_file, printable
from ovrcoat.vocabulary import Vocabulary

FORMAT_VERSION = 1
METADATA_KEY = "ovrcoat"
TEXT_EMBEDDINGS = "text_rows"  # key of their tensor; no weight has this name
# A single key, so that shards with equal tensors have equal bytes.
SHARD_METADATA = {"ovrcoat-part": str(FORMAT_VERSION)}
MAX_INPUT_PIXELS = 1 << 24  # of a test size that a file states; the largest published one has 2.6 million
# Prefixes of the weights of the network.
OUR_PARTS = ("encoder.", "pixel_decoder.", "mask_decoder.", "text_classifier.", "text_transfer.")


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata of a checkpoint.

    Attributes:
        config: configuration of the model.
        training_vocabulary: decides which categories are seen.
        provenance: origin of the weights, for information only.
        shards: name of each further file → SHA-256 of its bytes.
        known_names: names whose text embeddings are stored in the checkpoint.
    """

    config: ModelConfig
    training_vocabulary: Vocabulary
    provenance: dict[str, str]
    shards: dict[str, str]
    known_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network in eval mode, with the metadata of its checkpoint.

    Attributes:
        network: the network.
        config: its configuration.
        training_vocabulary: decides which categories are seen.
        provenance: origin of the weights, for information only.
        text_embeddings: stored text embeddings (unit vectors) by name; these names need not be embedded.
    """

    network: SegmentationNetwork
    config: ModelConfig
    training_vocabulary: Vocabulary
    provenance: dict[str, str]
    text_embeddings: dict[str, Float[Tensor, " embedding"]]


def save(
    path: str | Path,
    network: SegmentationNetwork,
    *,
    config: ModelConfig,
    training_vocabulary: Vocabulary,
    provenance: Mapping[str, str],
    dtype: torch.dtype | None = None,
    shards: Mapping[str, tuple[str, ...]] | None = None,
    text_embeddings: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint. An existing file is replaced atomically.

    Args:
        path: the file to write.
        network: the network.
        config: its configuration.
        training_vocabulary: stored with the weights; decides which categories are seen.
        provenance: origin of the weights, for information only.
        dtype: dtype of the stored floating-point weights, for example `torch.float16`. None: no conversion.
        shards: name of each further file → prefixes of the keys that are stored there. A shard that already
            exists with the same content is not written again.
        text_embeddings: output of `network.embed_names` with the templates of `config`, by name, for names
            that are used often. They are stored in float32.

    Raises:
        CheckpointError: a weight is NaN or infinite (perhaps only after conversion to `dtype`), or a shard
            has an unsuitable name or no weights.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    main = {key: _stored(tensor, dtype) for key, tensor in network.state_dict().items()}
    check_finite(main, path.name)
    hashes = {}
    for name, prefixes in (shards or {}).items():
        _check_shard_name(name, path.name)
        shard = {key: main.pop(key) for key in list(main) if key.startswith(prefixes)}
        if not shard:
            raise CheckpointError(f"{name}: no weight starts with one of {prefixes}; give other prefixes")
        hashes[name] = _write(path.with_name(name), shard, SHARD_METADATA)
    description = {
        "format_version": FORMAT_VERSION,
        "config": config.model_dump(mode="json"),
        "training_vocabulary": training_vocabulary.to_dict(),
        "provenance": dict(provenance),
        "parts": hashes,
        "known_names": list(text_embeddings or ()),
    }
    if text_embeddings:
        main[TEXT_EMBEDDINGS] = torch.stack(list(text_embeddings.values())).detach().cpu()
    _write(path, main, {METADATA_KEY: json.dumps(description, ensure_ascii=False)})


def load(
    path: str | Path, *, device: str | torch.device = "cpu", image_dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a checkpoint. Every weight must match the network that the checkpoint describes.

    Args:
        path: the main file. Its shards must be in the same folder.
        device: where the network is placed.
        image_dtype: dtype of masks and features (`SegmentationNetwork.set_image_dtype`). None: float32.

    Raises:
        CheckpointError: the file is missing, damaged, in another format, or does not match the network that
            it describes.
    """
    path = Path(path)
    header = read_header(path)
    before = _states([path, *(path.with_name(name) for name in header.shards)])
    parts = _tensors(path)
    with ThreadPoolExecutor(max_workers=1) as pool:  # to hash the text encoder takes as long as the building
        checked = [
            pool.submit(_shard, path.with_name(name), sha, path.name) for name, sha in header.shards.items()
        ]
        with torch.device("meta"), _WithoutInitialValues():
            network = build_network(header.config)
        while checked:  # which would keep the tensors in memory
            parts += checked.pop(0).result()
    text_embeddings = _text_embeddings(parts, header, source=path.name)
    if image_dtype is not None:
        network.set_image_dtype(image_dtype)  # before the weights are assigned, which converts them
    # The largest part first: the additional memory for its conversion is needed while little else is loaded.
    parts.sort(key=lambda part: -sum(tensor.nbytes for tensor in part.values()))
    # The tensors are views of the file. Copies stay what they are if another program writes into it later.
    assign_parts(network, parts, source=path.name, copy=True)
    if _states([path, *(path.with_name(name) for name in header.shards)]) != before:
        raise CheckpointError(
            f"{path.name} was changed while it was loaded; load it again when it is complete"
        )
    return LoadedModel(
        network=network.to(device).eval(),
        config=header.config,
        training_vocabulary=header.training_vocabulary,
        provenance=header.provenance,
        text_embeddings={name: embedding.to(device) for name, embedding in text_embeddings.items()},
    )


def _text_embeddings(parts: list[dict[str, Tensor]], header: Header, *, source: str) -> dict[str, Tensor]:
    """Remove the text embeddings from the part that contains them, and return them by name."""
    embeddings = torch.zeros(0, header.config.encoder.embedding_dim)
    for part in parts:
        embeddings = part.pop(TEXT_EMBEDDINGS, embeddings)
    expected = (len(header.known_names), header.config.encoder.embedding_dim)
    if embeddings.shape != expected:
        raise CheckpointError(
            f"{source}: its text embeddings have shape {tuple(embeddings.shape)}, expected {expected}. The "
            "file is damaged, or was not written by ovrcoat"
        )
    check_finite({TEXT_EMBEDDINGS: embeddings}, source)
    return dict(zip(header.known_names, embeddings.to(torch.float32, copy=True), strict=True))


def read_header(path: str | Path) -> Header:
    """Read the metadata of a checkpoint, without its weights.

    Raises:
        CheckpointError: as for `load`.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
        keys = tuple(file.keys())
    if METADATA_KEY not in metadata:
        raise CheckpointError(_without_metadata(path, metadata, keys))
    try:
        description: dict[str, Any] = parse_json(metadata[METADATA_KEY])
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path.name} has format version {version!r}, expected {FORMAT_VERSION}. "
                "Update with: pip install --upgrade ovrcoat"
            )
        header = Header(
            config=ModelConfig.model_validate(description["config"]),
            training_vocabulary=Vocabulary.from_dict(description["training_vocabulary"]),
            provenance={str(key): str(value) for key, value in description["provenance"].items()},
            shards={str(key): str(value) for key, value in description.get("parts", {}).items()},
            known_names=tuple(str(name) for name in description.get("known_names", ())),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise _metadata_error(path, reason) from error
    except (VocabularyError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _metadata_error(path, f"{type(error).__name__}: {error}") from error
    inference = header.config.inference
    sides = min(inference.short_side, inference.max_long_side), inference.max_long_side
    if sides[0] * sides[1] > MAX_INPUT_PIXELS:
        reason = f"its test size, up to {sides[0]} × {sides[1]} pixels, would exhaust the memory"
        raise _metadata_error(path, reason)
    for name in header.shards:
        _check_shard_name(name, path.name)
    try:
        check_encoder(header.config.encoder)
    except ConfigError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    return header


def _metadata_error(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path.name}: its metadata cannot be read ({reason}). The file is damaged, or was not written by "
        "ovrcoat"
    )


def _without_metadata(path: Path, metadata: Mapping[str, str], keys: Sequence[str]) -> str:
    """Return why a safetensors file is not a main file, and what to do."""
    if SHARD_METADATA.items() <= metadata.items():
        return f"{path.name} is a part of an ovrcoat checkpoint; give the main file, which names its parts"
    if keys and all(key.startswith(OUR_PARTS) or key == TEXT_EMBEDDINGS for key in keys):
        return (
            f"{path.name} has ovrcoat's weights, but its metadata (configuration and vocabulary) is missing: "
            "another program saved it again without it. Use the original file"
        )
    if shard_paths(path) is not None:
        return (
            f"{path.name} is one part of a checkpoint of other software. If it has published weights, run: "
            f"ovrcoat convert {path} OUT.safetensors, with all parts in the same folder"
        )
    return (
        f"{path.name} is a safetensors file, but not an ovrcoat checkpoint (its metadata has no key "
        f"{METADATA_KEY!r}). If it has published weights, run: ovrcoat convert {path} OUT.safetensors"
    )


class _WithoutInitialValues(TorchFunctionMode):
    """Skips `torch.nn.init`, because the values come from the file.

    This is for speed only: drawing normal values on the meta device imports PyTorch's compiler, which takes
    longer than everything else in loading nano.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, unless it only initializes its first argument."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _opened(path: Path) -> Any:
    """Open a safetensors file. The library checks header and length."""
    try:
        check_input(path, WEIGHTS)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        raise CheckpointError(
            f"{printable(path)} cannot be opened ({reason}); give the path of a checkpoint (.safetensors)"
        ) from error
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        if (kind := not_a_checkpoint(path)) is not None:
            raise CheckpointError(f"{path.name} cannot be read as safetensors: it {kind}") from error
        if is_pytorch(path):
            remedy = f"It looks like published weights; run: ovrcoat convert {path} OUT.safetensors"
        else:
            remedy = "It is truncated or not a checkpoint; download it again"
        raise CheckpointError(f"{path.name} cannot be read as safetensors ({error}). {remedy}") from error


def _tensors(path: Path) -> list[dict[str, Tensor]]:
    """Return all tensors of a file, grouped by part of the network. They are memory-mapped views of the file.

    Each part is opened separately, so that its memory is released as soon as its tensors have been converted
    or moved to another device.
    """
    with _opened(path) as file:
        keys = sorted(file.keys(), key=_part_of_network)
    parts = []
    for _, part in groupby(keys, key=_part_of_network):
        with _opened(path) as file:
            parts.append({key: file.get_tensor(key) for key in part})
    return parts


def _states(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Return what changes when a file is written: its size and time of change; None for a missing file."""
    return [
        (facts.st_size, facts.st_mtime_ns) if (facts := path.stat() if path.exists() else None) else None
        for path in paths
    ]


def _part_of_network(key: str) -> str:
    """Return the large part of the network that a weight belongs to; "" for the small remainder."""
    return next((part for part in SegmentationNetwork.large_parts if key.startswith(f"{part}.")), "")


def _shard(path: Path, expected: str, owner: str) -> list[dict[str, Tensor]]:
    """Return the tensors of a shard after checking its hash."""
    if not is_file(path):
        raise CheckpointError(f"{owner} needs {path.name} in the same folder; copy both files")
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path.name} is not the file that {owner} was saved with (SHA-256 {found[:12]}…, expected "
            f"{expected[:12]}…); take both files from the same source"
        )
    return _tensors(path)


def _check_shard_name(name: str, owner: str) -> None:
    """Check that a name cannot refer to another folder: shards are stored next to the main file."""
    if not name.endswith(".safetensors") or name.startswith(".") or any(sign in name for sign in "/\\:\0"):
        raise CheckpointError(
            f"{owner}: {name!r} cannot be a shard, expected a plain file name such as 'text.safetensors'"
        )


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor as it is written to the file."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(device="cpu", dtype=wanted).contiguous()


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> str:
    """Write a temporary file and rename it, unless an equal file exists. Return the SHA-256."""
    temporary = new_part_path(path, is_named=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, metadata=metadata)
        temporary.chmod(0o644)  # safetensors creates files that only their owner can read
        written = file_sha256(temporary)
        if not (path.is_file() and file_sha256(path) == written):
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder that you may write to") from error
    finally:
        with contextlib.suppress(OSError):  # already renamed, or never created
            temporary.unlink()
    return written
