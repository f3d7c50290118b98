"""Errors that users can cause. Catch `OvrcoatError` to catch all of them.

OvrcoatError
├── ConfigError       a setting, a model name or a device
├── VocabularyError   a vocabulary
├── ImageError        an image that cannot be read or used
├── DatasetError      a dataset that is missing, incomplete or inconsistent
├── TrainingError     a training run that cannot continue
├── CheckpointError   a checkpoint
├── OutputError       a file that cannot be written
└── MissingExtraError an optional dependency that is not installed; the message has the command to install it

All of them, with their attributes, can be pickled and copied: they pass between processes.
"""

from typing import Any

MAX_MESSAGE = 4_000


class OvrcoatError(Exception):
    """Base class of all errors that users can cause.

    A message of more than `MAX_MESSAGE` characters is shown without its middle: it may quote a name from a
    file, which can have any length.
    """

    def __str__(self) -> str:
        message = super().__str__()
        if len(message) <= MAX_MESSAGE:
            return message
        return f"{message[: MAX_MESSAGE - 500]} … {message[-490:]}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle message and attributes; a subclass may have a constructor with other arguments."""
        return _restore, (type(self), self.args, self.__dict__)


class ConfigError(OvrcoatError):
    """A setting, a model name or a device does not exist or is not valid."""


class VocabularyError(OvrcoatError):
    """A vocabulary cannot be used."""


class ImageError(OvrcoatError):
    """An image cannot be read or used."""


class DatasetError(OvrcoatError):
    """A dataset is missing, incomplete or inconsistent."""


class TrainingError(OvrcoatError):
    """A training run cannot continue."""


class CheckpointError(OvrcoatError):
    """A checkpoint is damaged, in another format, or does not match the network."""


class OutputError(OvrcoatError):
    """A result cannot be written to the requested location."""


class MissingExtraError(OvrcoatError, ImportError):
    """An optional dependency is not installed."""


def _restore(
    error_class: type[OvrcoatError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> OvrcoatError:
    """Create a pickled error again, without its constructor."""
    error = error_class.__new__(error_class, *arguments)
    error.__dict__.update(state)
    return error
