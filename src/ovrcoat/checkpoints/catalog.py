"""Models by name: the embedded model, converted models, and published models with instructions to get them.

Nothing is downloaded unless `find_model` is told to.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from os import PathLike
from pathlib import Path

from ovrcoat.checkpoints import hub
from ovrcoat.checkpoints.encoder_file import EncoderFile, is_encoder_address
from ovrcoat.checkpoints.hub import HubAddress, is_hub_address
from ovrcoat.errors import ConfigError
from ovrcoat.system.paths import access_problem, expand_user, is_file, is_folder, printable
from ovrcoat.system.user_folders import model_folders

SUFFIX = ".safetensors"
EMBEDDED = "nano"

FC_CLIP_PAGE = "the model zoo of the FC-CLIP project (bytedance/fc-clip on GitHub)"
OVRCOAT_PAGE = "the page of the OVRCOAT project (nickormushev/OVRCOAT on GitHub)"
MAFT_PLUS_PAGE = "the page of the MAFT+ project (jiaosiyu1999/MAFT-Plus on GitHub, MIT license)"
_PTH = "its .pth file"
# Name of a published model -> its description, its file, and where the file is offered.
PUBLISHED = {
    "fcclip-convnext-large": ("FC-CLIP with ConvNeXt-Large, trained on COCO", _PTH, FC_CLIP_PAGE),
    "fcclip-rn50": ("FC-CLIP with ResNet-50, trained on COCO", _PTH, FC_CLIP_PAGE),
    "ovrcoat-convnext-large": ("OVRCOAT with ConvNeXt-Large, trained on COCO", _PTH, OVRCOAT_PAGE),
    "maftplus-convnext-large": (
        "MAFT+ with ConvNeXt-Large, trained on COCO",
        "maftp_l_pano.pth",
        MAFT_PLUS_PAGE,
    ),
    "maftplus-semantic-convnext-large": (
        "MAFT+ with ConvNeXt-Large for semantic output, trained on COCO-Stuff",
        "maftp_l.pth",
        MAFT_PLUS_PAGE,
    ),
    "maftplus-semantic-convnext-base": (
        "MAFT+ with ConvNeXt-Base for semantic output, trained on COCO-Stuff",
        "maftp_b.pth",
        MAFT_PLUS_PAGE,
    ),
}

# Name of a published source of masks -> its description, and its repository on the Hugging Face Hub.
PUBLISHED_MASKS = {
    f"mask2former-swin-{size}-coco": (
        f"Mask2Former with Swin-{size[0].upper()}, trained on COCO; proposes masks only (--masks)",
        f"facebook/mask2former-swin-{size}-coco-panoptic",
    )
    for size in ("tiny", "small", "base", "large")
}
CONFIG_FILE = "config.json"  # marks a folder of Hugging Face
_USE_AS_MASKS = "a Mask2Former can be used as a source of masks: --masks"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model with a name.

    Attributes:
        name: accepted by `find_model` and `Segmenter.load`.
        description: one line.
        path: its file or folder; None if it is not installed.
        remedy: how to install it, if it is not installed.
        masks_only: whether it proposes masks and cannot name them (`find_mask_source`).
    """

    name: str
    description: str
    path: Path | None
    remedy: str = ""
    masks_only: bool = False


def embedded_path() -> Path:
    """Return the file of the model that ships with the package."""
    return Path(str(resources.files("ovrcoat").joinpath("weights", f"{EMBEDDED}{SUFFIX}")))


def list_models() -> tuple[ModelEntry, ...]:
    """Return the embedded model, the published models, and all other models in the model folders."""
    installed = _installed()
    embedded = embedded_path()
    entries = [
        ModelEntry(
            EMBEDDED,
            "small, ships with the package",
            embedded if embedded.is_file() else None,
            "" if embedded.is_file() else "its file is missing: reinstall ovrcoat",
        )
    ]
    for name, (description, file, page) in PUBLISHED.items():
        path = installed.pop(name, None)
        entries.append(ModelEntry(name, description, path, "" if path else _how_to_get(name, file, page)))
    folders = _installed_folders()
    for name, (description, repository) in PUBLISHED_MASKS.items():
        path = folders.pop(name, None)
        remedy = "" if path else _how_to_get_masks(name, repository)
        entries.append(ModelEntry(name, description, path, remedy, masks_only=True))
    own = "your own; proposes masks only (--masks)"
    return (
        *entries,
        *(ModelEntry(name, "your own", path) for name, path in sorted(installed.items()) if name != EMBEDDED),
        *(ModelEntry(name, own, path, masks_only=True) for name, path in sorted(folders.items())),
    )


def find_names(model: str | PathLike[str], *, download: bool = False) -> Path | EncoderFile:
    """Return what names masks: the file of a model, or an encoder (openclip:NAME=FILE). See `find_model`."""
    return EncoderFile.parse(model) if is_encoder_address(model) else find_model(model, download=download)


def find_model(model: str | PathLike[str], *, download: bool = False) -> Path:
    """Return the file of a model.

    Args:
        model: a name from `list_models`, a path, or an address on the Hugging Face Hub (hf://OWNER/REPO). A
            name takes precedence over a file with that name.
        download: download a model on the Hub that is not in the cache, or has changed.

    Raises:
        ConfigError: there is no such model or file, or the model is not installed.
        CheckpointError: the download is damaged.
    """
    if is_encoder_address(model):
        raise ConfigError(
            f"{printable(model)} names masks and cannot propose them; use --names, with --masks"
        )
    if is_hub_address(str(model)):
        address = HubAddress.parse(str(model))
        return hub.download(address) if download else hub.cached(address)
    models = {entry.name: entry for entry in list_models()}
    text = str(model)
    entry = models.get(text)
    if entry is not None and entry.masks_only:
        raise ConfigError(f"{text!r} proposes masks and cannot name them; {_USE_AS_MASKS}")
    if entry is not None:
        return _installed_path(entry)
    path = expand_user(model)
    if is_file(path):
        return path
    if is_mask2former_folder(path):
        raise ConfigError(f"{text} is a folder of another library; {_USE_AS_MASKS}")
    if is_folder(path):
        raise ConfigError(f"{text} is a folder; give the {SUFFIX} file in it")
    if problem := access_problem(path):
        raise ConfigError(f"{printable(text)}: the model cannot be read ({problem}); check its permissions")
    if path.suffix or path.name != text:  # it looks like a path
        raise ConfigError(
            f"there is no file {text}; give the path of a {SUFFIX} file or one of {', '.join(models)}"
        )
    close = get_close_matches(text.lower(), models, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"unknown model {text!r}, expected one of {', '.join(models)}, or the path of a file{hint}"
    )


def find_mask_source(source: str | PathLike[str]) -> Path:
    """Return the file or folder that masks come from.

    Args:
        source: a name or file of a model, or any other file or folder that exists.

    Raises:
        ConfigError: there is no such model, file or folder.
    """
    entry = next((entry for entry in list_models() if entry.name == str(source)), None)
    if entry is not None:
        return _installed_path(entry)
    path = expand_user(source)
    return path if is_file(path) or is_folder(path) else find_model(source)


def is_mask2former_folder(path: Path) -> bool:
    """Return whether a path is a folder in the layout of Hugging Face."""
    return is_folder(path) and is_file(path / CONFIG_FILE)


def _installed_path(entry: ModelEntry) -> Path:
    if entry.path is None:
        raise ConfigError(f"the model {entry.name!r} is not installed; {entry.remedy}")
    return entry.path


def _installed() -> dict[str, Path]:
    """Models in the folders by name. If a name occurs in several folders, the first folder wins."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        try:
            paths = sorted(folder.glob(f"*{SUFFIX}"))
        except OSError:  # a folder that this user may not read
            continue
        for path in paths:
            found.setdefault(path.stem, path)
    return found


def _installed_folders() -> dict[str, Path]:
    """Mask2Former folders in the model folders by name, as for `_installed`."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        try:
            paths = sorted(folder.iterdir())
        except OSError:  # it does not exist, or this user may not read it
            continue
        for path in paths:
            if is_mask2former_folder(path):
                found.setdefault(path.name, path)
    return found


def _how_to_get_masks(name: str, repository: str) -> str:
    folder = next(iter(model_folders()), Path())
    return f"run: hf download {repository} --local-dir {folder / name}"


def _how_to_get(name: str, file: str, page: str) -> str:
    """The two steps to install a published model."""
    folder = next(iter(model_folders()), Path())
    return f"download {file} from {page} and run: ovrcoat convert FILE.pth {folder / f'{name}{SUFFIX}'}"
