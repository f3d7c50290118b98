"""Read settings from YAML. Unknown, renamed and removed keys give errors that say what to write instead."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ovrcoat.config import Settings
from ovrcoat.errors import ConfigError
from ovrcoat.system.documents import DocumentError, parse_yaml
from ovrcoat.system.input_files import SETTINGS, read_input_text
from ovrcoat.system.paths import printable
from ovrcoat.training.config import TrainConfig

SettingsType = TypeVar("SettingsType", bound=Settings)

# Keys of earlier versions → today's name. No key below is reused for anything else.
RENAMED_KEYS = {
    "clip_norm": "max_grad_norm",
    "colour_jitter": "color_jitter",
    "encoder_rate": "encoder_lr_multiplier",
    "photos_at_once": "micro_batch_size",
    "unlabelled": "unlabeled",
    "warm_up": "warmup_steps",
    "watch": "validation",
}
REMOVED_KEYS = {
    "compensation": "the option was removed; delete the key",
    "distillation": "the option was removed; delete the key",
    "image_names": "the option was removed; delete the key",
    "nano_towers": "the recipe of nano is now the script tools/nano/build.py of the source repository",
}


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: the YAML file.
        overrides: changes of single settings, "key=value", such as "stages.0.schedule.steps=100".

    Raises:
        ConfigError: the file is missing or not valid YAML, a key is unknown, or a value is not allowed.
    """
    return read_settings(path, TrainConfig, overrides)


def read_settings(
    path: str | Path, settings_type: type[SettingsType], overrides: Sequence[str] = ()
) -> SettingsType:
    """Read a YAML file into any settings class; see `read_config`.

    Raises:
        ConfigError: the file is missing or not valid YAML, a key is unknown, or a value is not allowed.
    """
    path = Path(path)
    expected = " and ".join(list(settings_type.model_fields)[:2])
    try:
        data = parse_yaml(read_input_text(path, SETTINGS))
    except (OSError, UnicodeDecodeError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot read {printable(path)}: {reason}; expected a YAML file as in configs/"
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} contains a {type(data).__name__}, expected keys such as {expected}")
    for override in overrides:
        _apply_override(data, override)
    try:
        return settings_type.model_validate(data)
    except ValidationError as error:
        lines = "\n".join(f"- {_describe(entry, settings_type)}" for entry in _causes(error.errors()))
        raise ConfigError(f"{path} is not a valid configuration:\n{lines}") from error


def with_current_keys(value: Any) -> Any:
    """Settings that an earlier version wrote, as nested plain values, with today's key names."""
    if isinstance(value, Mapping):
        return {RENAMED_KEYS.get(key, key): with_current_keys(inner) for key, inner in value.items()}
    return [with_current_keys(inner) for inner in value] if isinstance(value, list) else value


def _apply_override(data: Any, override: str) -> None:
    """Set one "key=value" in nested mappings and lists."""
    path, separator, value = override.partition("=")
    if not separator or not path:
        raise ConfigError(f"--set {override!r}: expected key=value, such as stages.0.schedule.steps=100")
    *parents, last = path.split(".")
    try:
        for key in parents:
            data = data[int(key)] if isinstance(data, list) else data.setdefault(key, {})
        data[int(last) if isinstance(data, list) else last] = parse_yaml(value)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(f"--set {override!r}: the configuration has no setting {path!r}") from error


def _causes(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out that a list is too short if that only follows from an error in one of its items."""
    paths = [entry["loc"] for entry in entries]
    return [
        entry
        for entry in entries
        if entry["type"] != "too_short"
        or not any(
            len(path) > len(entry["loc"]) and path[: len(entry["loc"])] == entry["loc"] for path in paths
        )
    ]


def _describe(entry: Mapping[str, Any], settings_type: type[BaseModel]) -> str:
    """One line for an error of pydantic; for an unknown key, the key that was probably meant."""
    path = ".".join(map(str, entry["loc"]))
    if entry["type"] != "extra_forbidden":
        return f"{path}: {entry['msg']}"
    key = str(entry["loc"][-1])
    if key in REMOVED_KEYS:
        return f"{path}: {REMOVED_KEYS[key]}"
    known = _fields_at(entry["loc"][:-1], settings_type)
    if RENAMED_KEYS.get(key) in known:
        return f"{path}: the key was renamed; write {RENAMED_KEYS[key]!r}"
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    return f"{path}: unknown key; {hint}"


def _fields_at(path: Sequence[str | int], settings_type: type[BaseModel]) -> list[str]:
    """Names of the settings at a path inside a settings class."""
    model = settings_type
    for key in path:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        model = next(part for part in _classes_in(annotation) if issubclass(part, BaseModel))
    return list(model.model_fields)


def _classes_in(annotation: Any) -> list[type]:
    """All classes in an annotation such as tuple[X, ...] | None."""
    arguments = getattr(annotation, "__args__", ())
    inner = [part for argument in arguments for part in _classes_in(argument)]
    return inner + ([annotation] if isinstance(annotation, type) and not arguments else [])
