"""What can go wrong, as one small tree: catch `OvrcoatError` to catch all of it.

OvrcoatError
├── ConfigError       a setting, a model name, a device
├── VocabularyError   the words
├── ImageError        an image that cannot be read or used
├── DatasetError      labelled images: missing, incomplete, contradicting
├── TrainingError     a training that cannot go on
├── CheckpointError   a file of weights
├── OutputError       a place that cannot be written
└── MissingExtraError an optional library that is not installed; the message holds the install command
"""


class OvrcoatError(Exception):
    """Base of every error that a user can cause."""


class ConfigError(OvrcoatError):
    """A setting, a model name or a device does not exist or does not fit."""


class VocabularyError(OvrcoatError):
    """The words cannot be used as given."""


class ImageError(OvrcoatError):
    """An image cannot be read or used."""


class DatasetError(OvrcoatError):
    """A data set is missing, incomplete or contradicts itself."""


class TrainingError(OvrcoatError):
    """Training cannot go on."""


class CheckpointError(OvrcoatError):
    """A file of weights is damaged, foreign or does not fit the network."""


class OutputError(OvrcoatError):
    """A result cannot be written where it was asked for."""


class MissingExtraError(OvrcoatError, ImportError):
    """An optional library is not installed."""
