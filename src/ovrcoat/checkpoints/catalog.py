"""Models by name: the embedded model, converted models, and published models with instructions to get them.

This module downloads nothing and opens no file.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from os import PathLike
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model with a name.

    Attributes:
        name: accepted by `find_model` and `Segmenter.load`.
        description: one line.
        path: its file; None if it is not installed.
        remedy: how to install it, if it is not installed.
    """

    name: str
    description: str
    path: Path | None
    remedy: str = ""


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
    others = sorted(installed.items())
    return (*entries, *(ModelEntry(name, "your own", path) for name, path in others if name != EMBEDDED))


def find_model(model: str | PathLike[str]) -> Path:
    """Return the file of a model.

    Args:
        model: a name from `list_models`, or a path. A name takes precedence over a file with that name.

    Raises:
        ConfigError: there is no such model or file, or the model is not installed.
    """
    models = {entry.name: entry for entry in list_models()}
    text = str(model)
    entry = models.get(text)
    if entry is not None:
        if entry.path is None:
            raise ConfigError(f"the model {text!r} is not installed; {entry.remedy}")
        return entry.path
    path = expand_user(model)
    if is_file(path):
        return path
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
    path = expand_user(source)
    is_name = str(source) in {entry.name for entry in list_models()}
    return path if not is_name and (is_file(path) or is_folder(path)) else find_model(source)


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


def _how_to_get(name: str, file: str, page: str) -> str:
    """The two steps to install a published model."""
    folder = next(iter(model_folders()), Path())
    return f"download {file} from {page} and run: ovrcoat convert FILE.pth {folder / f'{name}{SUFFIX}'}"
