"""Category: one entry of a vocabulary."""

from dataclasses import dataclass
from typing import Literal

from ovrcoat.errors import VocabularyError

Color = tuple[int, int, int]  # RGB, 0..255
ThingSource = Literal["given", "preset", "default"]


@dataclass(frozen=True, slots=True)
class Category:
    """One entry of a vocabulary.

    Attributes:
        names: synonyms; the first one is shown in results.
        is_thing: True for countable objects, each of which is a segment of its own. False for stuff, such as
            sky, whose regions are merged into one segment.
        id: written to result files. Presets have the ids of their dataset (COCO 1..200 with gaps, Cityscapes
            7..33). ADE20K and the Pascal-Context lists start at 0, which is allowed: only segment id 0 means
            void. Other vocabularies have 1..K unless their file gives ids. Ids of background classes are
            never written.
        color: RGB, 0..255, for drawing; None: chosen automatically.
        thing_from: source of `is_thing`: the vocabulary itself ("given"), a preset that contains one of the
            names ("preset"), or nothing ("default", which is a thing).

    Raises:
        VocabularyError: `names` is empty.
    """

    names: tuple[str, ...]
    is_thing: bool
    id: int
    color: Color | None = None
    thing_from: ThingSource = "given"

    def __post_init__(self) -> None:
        if not self.names:
            raise VocabularyError("a category needs at least one name, but names is empty")

    @property
    def name(self) -> str:
        """The name that is shown in results."""
        return self.names[0]
