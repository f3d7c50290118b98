"""The JSON form of a vocabulary, checked by pydantic: users' files, presets and checkpoints all have it.

    {"name": "pets", "categories": [{"name": "cat", "synonyms": ["kitty"], "isthing": true}], "background": []}

Category lists of COCO panoptic files have the same keys.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Category, ThingSource
from ovrcoat.vocabulary.entries import Entry, parse_entry, split_names

MAX_CATEGORIES = (
    5_000  # four times LVIS, the longest list in use; each name is read by the text tower 14 times
)
MAX_NAMES = 1_000  # of one category; the longest published list of synonyms has 74
MAX_NAME_LENGTH = 1_000  # characters; no text tower takes so many

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Byte = Annotated[int, Field(ge=0, le=255)]
Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


class CategoryRecord(BaseModel):
    """A category in a file; None is what its author left open."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Name
    synonyms: Annotated[list[Name], Field(max_length=MAX_NAMES)] = []
    isthing: bool | Literal[0, 1] | None = None  # COCO writes 0 and 1
    color: Annotated[list[Byte], Field(min_length=3, max_length=3)] | None = None  # RGB
    id: Id | None = None

    def color_tuple(self) -> tuple[int, int, int] | None:
        """The colour as the rest of the package wants it."""
        return None if self.color is None else (self.color[0], self.color[1], self.color[2])

    def to_entry(self) -> Entry:
        """Split the name at commas, as in the text syntax: ADE20K's own files list synonyms that way.

        Raises:
            VocabularyError: all names are blank.
        """
        names = tuple(part for name in (self.name, *self.synonyms) for part in split_names(name))
        if not names:
            raise VocabularyError(f"a category is named {self.name!r}, which holds no name")
        is_thing = None if self.isthing is None else bool(self.isthing)
        return Entry(names, is_thing=is_thing, id=self.id, color=self.color_tuple())


class ForeignCategoryRecord(CategoryRecord):
    """A category below the key "categories", where COCO's files keep further keys (supercategory, ...)."""

    model_config = ConfigDict(extra="ignore")


class SavedCategoryRecord(CategoryRecord):
    """A category as `Vocabulary.to_dict` writes it: nothing is left open."""

    isthing: bool
    id: Id
    thing_from: ThingSource

    def to_category(self) -> Category:
        """Names stay exactly as saved."""
        names = (self.name, *self.synonyms)
        return Category(names, self.isthing, self.id, color=self.color_tuple(), thing_from=self.thing_from)


def _form(item: object) -> str:
    """Choose what an item of a list is checked as, so that a message speaks of one form only."""
    return "text" if isinstance(item, str) else "object"


Text = Annotated[Name, Tag("text")]
Form = Discriminator(_form)
Item = Annotated[Text | Annotated[CategoryRecord, Tag("object")], Form]
ForeignItem = Annotated[Text | Annotated[ForeignCategoryRecord, Tag("object")], Form]


class ListRecord(BaseModel):
    """A file that is a plain list: each item is a category in the text syntax, or an object."""

    model_config = ConfigDict(strict=True, frozen=True)

    categories: Annotated[list[Item], Field(max_length=MAX_CATEGORIES)]


class FileRecord(BaseModel):
    """A file that is an object with the key "categories", as COCO panoptic files are, among other keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    categories: Annotated[list[ForeignItem], Field(max_length=MAX_CATEGORIES)]
    background: Annotated[list[ForeignItem], Field(max_length=MAX_CATEGORIES)] = []


class SavedRecord(BaseModel):
    """What `Vocabulary.to_dict` writes."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=MAX_NAME_LENGTH)] | None
    categories: Annotated[list[SavedCategoryRecord], Field(max_length=MAX_CATEGORIES)]
    # "hidden" in checkpoints written before 2026-12, the embedded model among them
    background: Annotated[
        list[SavedCategoryRecord],
        Field(max_length=MAX_CATEGORIES, validation_alias=AliasChoices("background", "hidden")),
    ]


Record = TypeVar("Record", bound=BaseModel)


def read_entries(data: object, *, origin: str) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Turn the content of a JSON or YAML file into (categories, hidden categories).

    Raises:
        VocabularyError: its form is wrong; the message names `origin` and the place in it.
    """
    try:
        if isinstance(data, list):
            return _to_entries(_validate(ListRecord, {"categories": data}).categories), ()
        record = _validate(FileRecord, data)
        return _to_entries(record.categories), _to_entries(record.background)
    except VocabularyError as error:
        raise VocabularyError(f"{origin}: {error}") from error


def read_saved(data: object) -> SavedRecord:
    """Check what `Vocabulary.to_dict` wrote, perhaps by a stranger's hand.

    Raises:
        VocabularyError: something is missing, too much, of a wrong type or too large.
    """
    try:
        return _validate(SavedRecord, data)
    except VocabularyError as error:
        raise VocabularyError(f"this is no saved vocabulary: {error}") from error


def write_category(category: Category) -> dict[str, Any]:
    """Give the JSON form of one category."""
    return {
        "name": category.name,
        "synonyms": list(category.names[1:]),
        "isthing": category.is_thing,
        "color": None if category.color is None else list(category.color),
        "id": category.id,
        "thing_from": category.thing_from,
    }


def _to_entries(items: Sequence[str | CategoryRecord]) -> tuple[Entry, ...]:
    return tuple(parse_entry(item) if isinstance(item, str) else item.to_entry() for item in items)


def _validate(model: type[Record], data: object) -> Record:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        shown = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'top'}: {item['msg']}" for item in found[:3])
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise VocabularyError(
            f'{shown}{more}. Expected a list of words or of objects such as {{"name": "cat", '
            '"synonyms": ["kitty"], "isthing": true, "color": [255, 0, 0], "id": 1}'
        ) from error
