"""Our own checkpoints: one .safetensors file with the weights and all that is needed to use them.

The file's metadata holds, as JSON under the key "ovrcoat": format version, model configuration, training
vocabulary, provenance. Tensors may lie in further files beside it ("parts", named with their SHA-256), so
that retraining one half of a network leaves the file of the other half as it is.
"""

import contextlib
import json
import os
from collections.abc import Mapping
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

from ovrcoat.checkpoints.fitting import assign_parts, check_finite
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError, OutputError, VocabularyError
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.vocabulary import Vocabulary

FORMAT_VERSION = 1
METADATA_KEY = "ovrcoat"
TEXT_EMBEDDINGS = "text_rows"  # key of the rows' tensor; no weight is called so
NETWORK_PARTS = ("encoder.text_tower", "encoder.visual_trunk", "pixel_decoder", "mask_decoder")
PART_METADATA = {"ovrcoat-part": str(FORMAT_VERSION)}  # one key: a part with equal tensors has equal bytes
PICKLES = (".pth", ".pt", ".pkl", ".bin")


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself.

    `parts`: name of a file beside it → SHA-256 of its bytes; `known_names`: those whose text rows it holds.
    """

    config: ModelConfig
    training_vocabulary: Vocabulary
    provenance: dict[str, str]
    parts: dict[str, str]
    known_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network in eval mode, and what its checkpoint says of it.

    `text_embeddings` are the unit text rows of names that need not be embedded again.
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
    parts: Mapping[str, tuple[str, ...]] | None = None,
    text_embeddings: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint; a file of that name is replaced at once or not at all.

    `dtype` (say `torch.float16`) stores floating-point weights in it. `parts` maps the name of a further file
    to the beginnings of the keys that go there; an equal part that lies there already is left untouched.
    `text_embeddings` are rows of `network.embed_names` with the config's templates, by name, kept in float32 for
    names that will be asked often.

    Raises:
        CheckpointError: a weight is NaN or infinite (perhaps only in `dtype`), or `parts` does not fit.
        OutputError: the place cannot be written.
    """
    path = Path(path)
    main = {key: _stored(tensor, dtype) for key, tensor in network.state_dict().items()}
    check_finite(main, path.name)
    hashes = {}
    for name, prefixes in (parts or {}).items():
        _check_part_name(name, path.name)
        part = {key: main.pop(key) for key in list(main) if key.startswith(prefixes)}
        if not part:
            raise CheckpointError(
                f"{name}: no weight is called like one of {prefixes}; nothing to store there"
            )
        hashes[name] = _write(path.with_name(name), part, PART_METADATA)
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
    """Rebuild a network from its checkpoint, strictly; its image half in `image_dtype` (None: float32).

    Raises:
        CheckpointError: the file is missing, damaged, foreign or does not fit the network that it describes.
    """
    path = Path(path)
    header = read_header(path)
    parts = _tensors(path)
    for name, expected in header.parts.items():
        parts += _part(path.with_name(name), expected, path.name)
    text_embeddings = _text_embeddings(parts, header, source=path.name)
    with torch.device("meta"), _WithoutInitialValues():
        network = build_network(header.config)
    if image_dtype is not None:
        network.set_image_dtype(image_dtype)  # before there are weights: they come in converted
    # The largest first: what it needs while it is converted then lies beside the least.
    parts.sort(key=lambda part: -sum(tensor.nbytes for tensor in part.values()))
    assign_parts(network, parts, source=path.name)
    return LoadedModel(
        network=network.to(device).eval(),
        config=header.config,
        training_vocabulary=header.training_vocabulary,
        provenance=header.provenance,
        text_embeddings={name: row.to(device) for name, row in text_embeddings.items()},
    )


def _text_embeddings(parts: list[dict[str, Tensor]], header: Header, *, source: str) -> dict[str, Tensor]:
    """Take the text rows out of the part that has them."""
    rows = torch.zeros(0, header.config.encoder.embedding_dim)
    for part in parts:
        rows = part.pop(TEXT_EMBEDDINGS, rows)
    expected = (len(header.known_names), header.config.encoder.embedding_dim)
    if rows.shape != expected:
        raise CheckpointError(
            f"{source}: its text rows are {tuple(rows.shape)}, expected {expected}. The file is damaged, or "
            "was not written by ovrcoat"
        )
    check_finite({TEXT_EMBEDDINGS: rows}, source)
    return dict(zip(header.known_names, rows.float(), strict=True))


def read_header(path: str | Path) -> Header:
    """What a checkpoint says of itself, without reading its weights.

    Raises:
        CheckpointError: as for `load`.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path.name} is a safetensors file, but not one of ours (its metadata has no {METADATA_KEY!r}). "
            f"If it holds published weights, run: ovrcoat convert {path} OUT.safetensors"
        )
    try:
        description: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path.name} has format version {version!r}, this ovrcoat reads {FORMAT_VERSION}. "
                "Update with: pip install --upgrade ovrcoat"
            )
        header = Header(
            config=ModelConfig.model_validate(description["config"]),
            training_vocabulary=Vocabulary.from_dict(description["training_vocabulary"]),
            provenance={str(key): str(value) for key, value in description["provenance"].items()},
            parts={str(key): str(value) for key, value in description.get("parts", {}).items()},
            known_names=tuple(str(name) for name in description.get("known_names", ())),
        )
    except (ValidationError, VocabularyError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name}: its description cannot be read ({type(error).__name__}: {error}). "
            "The file is damaged, or was not written by ovrcoat"
        ) from error
    for name in header.parts:
        _check_part_name(name, path.name)
    return header


class _WithoutInitialValues(TorchFunctionMode):
    """Skips `torch.nn.init`: the values come from the file.

    It is for speed alone: drawing normal values on the meta device imports torch's compiler, which takes
    longer than all the rest of loading nano.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, unless it only fills its first argument with initial values."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _opened(path: Path) -> Any:
    """Open a safetensors file; the library checks header and length."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; give the path of a checkpoint (.safetensors)")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        if path.suffix in PICKLES:
            remedy = f"It looks like published weights; run: ovrcoat convert {path} OUT.safetensors"
        else:
            remedy = "It is truncated or something else; fetch it again"
        raise CheckpointError(f"{path.name} cannot be read as safetensors ({error}). {remedy}") from error


def _tensors(path: Path) -> list[dict[str, Tensor]]:
    """All tensors of a file, by parts of the network; they are views of it, read when they are first used.

    Each part is opened apart: as soon as nothing needs it as it is stored, because it was converted or moved,
    that part of the file leaves memory.
    """
    with _opened(path) as file:
        keys = sorted(file.keys(), key=_part_of_network)
    parts = []
    for _, part in groupby(keys, key=_part_of_network):
        with _opened(path) as file:
            parts.append({key: file.get_tensor(key) for key in part})
    return parts


def _part_of_network(key: str) -> str:
    """Which of `NETWORK_PARTS` a weight belongs to; "" is the small rest."""
    return next((part for part in NETWORK_PARTS if key.startswith(f"{part}.")), "")


def _part(path: Path, expected: str, owner: str) -> list[dict[str, Tensor]]:
    """The tensors of a part, after its hash is checked."""
    if not path.is_file():
        raise CheckpointError(f"{owner} needs {path.name} beside it, which is not there; copy both files")
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path.name} is not the file that {owner} was saved with (SHA-256 {found[:12]}…, expected "
            f"{expected[:12]}…); take both files from the same place"
        )
    return _tensors(path)


def _check_part_name(name: str, owner: str) -> None:
    """A part lies beside its owner: a name that could point elsewhere is refused."""
    if not name.endswith(".safetensors") or name.startswith(".") or any(sign in name for sign in "/\\:\0"):
        raise CheckpointError(
            f"{owner}: {name!r} cannot be a part; expected a plain file name such as 'text.safetensors'"
        )


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it goes to the file."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(device="cpu", dtype=wanted).contiguous()


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> str:
    """Write under another name, then move into place unless an equal file is there; return the SHA-256."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, metadata=metadata)
        temporary.chmod(0o644)  # safetensors leaves files that nobody but their owner can read
        written = file_sha256(temporary)
        if not (path.is_file() and file_sha256(path) == written):
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}. Choose a folder that you may write to") from error
    finally:
        with contextlib.suppress(OSError):  # moved already, or never made
            temporary.unlink()
    return written
