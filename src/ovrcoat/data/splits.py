"""Names of dataset splits."""

from collections.abc import Sequence

from ovrcoat.errors import DatasetError

DEFAULT_SPLIT = "val"
# How tools call the split of a user's own folder.
SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_FOLDERS = tuple(spelling for spellings in SPELLINGS.values() for spelling in spellings)


def check_split(split: str, known: Sequence[str], *, name: str) -> None:
    """Reject a split for which a dataset has no ground truth.

    Raises:
        DatasetError: `split` is not in `known`; the message lists the known splits.
    """
    if split not in known:
        raise DatasetError(f"{name} has no labeled split {split!r}; choose one of {', '.join(known)}")


def choose_split(found: Sequence[str], split: str | None, *, name: str) -> str:
    """Return the split of a user's own folder that is to be opened, as it is spelled there.

    Args:
        found: The splits that the folder has, for example ("train", "valid"); at least one.
        split: The requested split in any spelling. None: "val", or the only split.
        name: The folder, for error messages.

    Raises:
        DatasetError: There is no such split; the message lists those that exist.
    """
    wanted = split or DEFAULT_SPLIT
    spellings = next((names for names in SPELLINGS.values() if wanted in names), ())
    for spelling in (wanted, *spellings):
        if spelling in found:
            return spelling
    if split is None and len(found) == 1:
        return found[0]
    raise DatasetError(
        f"{name} has no split {wanted!r}; choose one of its splits: {', '.join(sorted(found))}"
    )
