"""Names of models → files of weights: what ships with the package, what was converted, what is published.

Nothing is downloaded and no file is opened here.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from os import PathLike
from pathlib import Path

from ovrcoat.errors import ConfigError

SUFFIX = ".safetensors"
FOLDER_VARIABLE = "OVRCOAT_MODELS"  # a folder that is searched before the user's cache
EMBEDDED = "nano"

FC_CLIP_PAGE = "the model zoo of the FC-CLIP project (bytedance/fc-clip on GitHub)"
OVRCOAT_PAGE = "the page of the OVRCOAT project (nickormushev/OVRCOAT on GitHub)"
# Published weights by name: what they are, and where their .pth file is offered.
PUBLISHED = {
    "fcclip-convnext-large": ("FC-CLIP with ConvNeXt-Large, trained on COCO", FC_CLIP_PAGE),
    "fcclip-rn50": ("FC-CLIP with ResNet-50, trained on COCO", FC_CLIP_PAGE),
    "ovrcoat-convnext-large": ("OVRCOAT with ConvNeXt-Large, trained on COCO", OVRCOAT_PAGE),
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model by name. `path` is None if it is not installed; then `remedy` says how to get it."""

    name: str
    description: str
    path: Path | None
    remedy: str = ""


def model_folders() -> tuple[Path, ...]:
    """Where models are looked for by name: $OVRCOAT_MODELS if set, then the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ovrcoat" / "models"
    chosen = os.environ.get(FOLDER_VARIABLE)
    return tuple(folder.expanduser() for folder in ([Path(chosen)] if chosen else []) + [cache])


def embedded_path() -> Path:
    """The file of the model that ships with the package."""
    return Path(str(resources.files("ovrcoat").joinpath("weights", f"{EMBEDDED}{SUFFIX}")))


def list_models() -> tuple[ModelEntry, ...]:
    """The embedded model, the published ones, and what else lies in the model folders."""
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
    for name, (description, page) in PUBLISHED.items():
        path = installed.pop(name, None)
        entries.append(ModelEntry(name, description, path, "" if path else _how_to_get(name, page)))
    others = sorted(installed.items())
    return (*entries, *(ModelEntry(name, "your own", path) for name, path in others if name != EMBEDDED))


def find_model(model: str | PathLike[str]) -> Path:
    """The file of a model: a name of `list_models`, or a path.

    Raises:
        ConfigError: there is no such model, it is not installed, or there is no such file.
    """
    models = {entry.name: entry for entry in list_models()}
    text = str(model)
    entry = models.get(text)
    if entry is not None:
        if entry.path is None:
            raise ConfigError(f"the model {text!r} is not installed; {entry.remedy}")
        return entry.path
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise ConfigError(f"{text} is a folder; give the {SUFFIX} file in it")
    if path.suffix or path.name != text:  # it looks like a path
        raise ConfigError(
            f"there is no file {text}; give the path of a {SUFFIX} file or one of {', '.join(models)}"
        )
    close = get_close_matches(text.lower(), models, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"unknown model {text!r}; there are {', '.join(models)}, or give the path of a file{hint}"
    )


def _installed() -> dict[str, Path]:
    """Models in the folders by name; of two with one name the first folder's counts."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, path)
    return found


def _how_to_get(name: str, page: str) -> str:
    """The two steps from a project's page to an installed model."""
    target = model_folders()[0] / f"{name}{SUFFIX}"
    return f"download its .pth file from {page} and run: ovrcoat convert FILE.pth {target}"
