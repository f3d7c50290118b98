"""Optional libraries: import one, or say which command installs it."""

import importlib
from types import ModuleType

from ovrcoat.errors import MissingExtraError


def import_optional(module: str, *, extra: str) -> ModuleType:
    """Import `module`.

    Raises:
        MissingExtraError: it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise  # a broken installation of the library itself: its own message says more than ours
        raise MissingExtraError(
            f"this needs the library {module!r}, which is not installed. Run: pip install 'ovrcoat[{extra}]'"
        ) from error
