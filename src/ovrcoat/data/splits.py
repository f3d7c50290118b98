"""Names of dataset splits."""

from collections.abc import Sequence

from ovrcoat.errors import DatasetError


def check_split(split: str, known: Sequence[str], *, name: str) -> None:
    """Reject a split for which a dataset has no ground truth.

    Raises:
        DatasetError: `split` is not in `known`; the message lists the known splits.
    """
    if split not in known:
        raise DatasetError(f"{name} has no labeled split {split!r}; choose one of {', '.join(known)}")
