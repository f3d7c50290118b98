"""Optional dependencies: import one, or name the command that installs it."""

import importlib
from types import ModuleType

from ovrcoat.errors import MissingExtraError


def import_optional(module: str, *, extra: str) -> ModuleType:
    """Import `module`, which the optional dependency group `extra` of this package installs.

    Raises:
        MissingExtraError: it is not installed; the message contains the install command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise  # the library is installed but broken: its own message is more precise
        raise MissingExtraError(
            f"this needs the library {module!r}, which is not installed. Run: pip install 'ovrcoat[{extra}]' "
            f"(in a clone of the repository: pip install '.[{extra}]')"
        ) from error
