"""Names of splits."""

from collections.abc import Sequence

from ovrcoat.errors import DatasetError


def check_split(split: str, known: Sequence[str], *, name: str) -> None:
    """Refuse a split that a data set has no truth for.

    Raises:
        DatasetError: says which there are.
    """
    if split not in known:
        raise DatasetError(f"{name} has no labelled split {split!r}; choose one of {', '.join(known)}")
