"""What background classes took: the reason for results with few or no segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIN_SHARE = 0.05  # of the image: less is not worth a note if there are segments
MAX_NAMES = 3  # in the note


@dataclass(frozen=True, slots=True)
class BackgroundShare:
    """A background class and the share of the image that it won.

    Attributes:
        category: first name of the class.
        share: share of the image's pixels, above 0, up to 1. These pixels are void in the result.
    """

    category: str
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {"category": self.category, "share": round(self.share, 4)}


def background_shares(areas: Mapping[str, int], *, pixels: int) -> tuple[BackgroundShare, ...]:
    """Return the shares of the classes that won pixels, the largest first; `pixels` is the image's size."""
    shares = [BackgroundShare(name, area / pixels) for name, area in areas.items() if area]
    return tuple(sorted(shares, key=lambda one: -one.share))


def background_note(shares: Sequence[BackgroundShare], *, has_segments: bool) -> str | None:
    """Return a note for people if background classes took much of the image; else None."""
    total = sum(one.share for one in shares)
    if not shares or (has_segments and total < MIN_SHARE):
        return None
    named = ", ".join(f"{one.category} {one.share:.2f}" for one in shares[:MAX_NAMES])
    more = " and others" if len(shares) > MAX_NAMES else ""
    return (
        f"{100 * total:.0f} % of the image went to background classes: {named}{more}. To see them, add them "
        "to the vocabulary; to ignore them, use --background none (background='none')."
    )
