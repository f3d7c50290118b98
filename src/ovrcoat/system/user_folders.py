"""Folders of the user: converted models and cached text embeddings.

Both are below the cache folder of the operating system: `~/.cache/ovrcoat` (or below `$XDG_CACHE_HOME`) on
Linux, `~/Library/Caches/ovrcoat` on macOS, `%LOCALAPPDATA%\\ovrcoat` on Windows. Environment variables
choose other folders. The functions create nothing and never raise.
"""

import os
from pathlib import Path

from ovrcoat.system.paths import expand_user

MODELS_VARIABLE = "OVRCOAT_MODELS"  # a folder that is searched before the user's own
CACHE_VARIABLE = "OVRCOAT_CACHE"  # a folder, or "none" for no cache
NO_CACHE = "none"


def models_folder() -> Path | None:
    """Return the user's own folder of models; None for a user without a home directory."""
    folder = _user_folder()
    return None if folder is None else folder / "models"


def model_folders() -> tuple[Path, ...]:
    """Return the folders that are searched for models: `$OVRCOAT_MODELS` if set, then the user's own."""
    chosen = os.environ.get(MODELS_VARIABLE)
    folders = [expand_user(chosen) if chosen else None, models_folder()]
    return tuple(folder for folder in folders if folder is not None)


def cache_folder() -> Path | None:
    """Return the folder of cached text embeddings: `$OVRCOAT_CACHE` if set, otherwise the user's own.

    Returns:
        None if the cache is turned off, or for a user without a home directory.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen == NO_CACHE:
        return None
    return expand_user(chosen) if chosen else _user_folder()


def _user_folder() -> Path | None:
    import platformdirs  # imported late: takes a few milliseconds

    try:
        folder = platformdirs.user_cache_path("ovrcoat", appauthor=False, opinion=False)
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if folder.is_absolute() else None  # "~" is not expanded for a user without a home directory
