"""One entry of a vocabulary."""

from dataclasses import dataclass
from typing import Literal

from ovrcoat.errors import VocabularyError

Color = tuple[int, int, int]  # RGB, 0..255
ThingSource = Literal["given", "preset", "default"]


@dataclass(frozen=True, slots=True)
class Category:
    """What a segment can be called.

    `names` are synonyms; the first is the one shown. `is_thing`: countable, every object is its own segment;
    otherwise stuff, which merges. `thing_from` says where that comes from: the list itself ("given"), a
    preset that knows the word ("preset"), or nobody ("default": thing).

    `id` is the number written to files: for presets the data set's own (COCO 1..200 with gaps, Cityscapes
    7..33; ADE20K and the Pascal-Context lists start at 0, which is fine: only SEGMENT id 0 means void), for
    users' lists 1..K unless their file gives ids. Ids of hidden categories reach no file.

    Raises:
        VocabularyError: there is no name.
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
        """The name that is shown."""
        return self.names[0]
