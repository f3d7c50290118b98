"""The JSON format of vocabularies in users' files, presets and checkpoints, validated by pydantic.

    {"name": "pets", "background": [],
     "categories": [{"name": "cat", "synonyms": ["kitty"], "isthing": true}]}

The category lists of COCO panoptic files have the same keys.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Category, ThingSource
from ovrcoat.vocabulary.entries import (
    MAX_CATEGORIES,
    MAX_NAME_LENGTH,
    MAX_NAMES,
    Entry,
    parse_entry,
    split_names,
)

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Byte = Annotated[int, Field(ge=0, le=255)]
Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


class CategoryRecord(BaseModel):
    """A category in a file. None: not specified by its author."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Name
    synonyms: Annotated[list[Name], Field(max_length=MAX_NAMES)] = []
    isthing: bool | Literal[0, 1] | None = None  # COCO writes 0 and 1
    color: Annotated[list[Byte], Field(min_length=3, max_length=3)] | None = None  # RGB
    id: Id | None = None

    def color_tuple(self) -> tuple[int, int, int] | None:
        """Return the color as a tuple."""
        return None if self.color is None else (self.color[0], self.color[1], self.color[2])

    def to_entry(self) -> Entry:
        """Convert to an entry. Names are split at commas, because ADE20K's files list synonyms this way.

        Raises:
            VocabularyError: all names are blank.
        """
        names = tuple(part for name in (self.name, *self.synonyms) for part in split_names(name))
        if not names:
            raise VocabularyError(f"a category has the name {self.name!r}, which is blank; give it a name")
        is_thing = None if self.isthing is None else bool(self.isthing)
        return Entry(names, is_thing=is_thing, id=self.id, color=self.color_tuple())


class ForeignCategoryRecord(CategoryRecord):
    """A category under the key "categories", where COCO's files have further keys (supercategory, ...)."""

    model_config = ConfigDict(extra="ignore")


class SavedCategoryRecord(CategoryRecord):
    """A category as written by `Vocabulary.to_dict`: everything is specified."""

    isthing: bool
    id: Id
    thing_from: ThingSource

    def to_category(self) -> Category:
        """Convert to a category. Names are not changed."""
        names = (self.name, *self.synonyms)
        return Category(names, self.isthing, self.id, color=self.color_tuple(), thing_from=self.thing_from)


def _form(item: object) -> str:
    """Choose the format that a list item is validated against, so that messages mention only one format."""
    return "text" if isinstance(item, str) else "object"


Text = Annotated[Name, Tag("text")]
Form = Discriminator(_form)
Item = Annotated[Text | Annotated[CategoryRecord, Tag("object")], Form]
ForeignItem = Annotated[Text | Annotated[ForeignCategoryRecord, Tag("object")], Form]


class ListRecord(BaseModel):
    """A file that is a list. Each item is a category in the text syntax or an object."""

    model_config = ConfigDict(strict=True, frozen=True)

    categories: Annotated[list[Item], Field(max_length=MAX_CATEGORIES)]


class FileRecord(BaseModel):
    """A file that is an object with the key "categories" and perhaps others, such as a COCO panoptic file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    categories: Annotated[list[ForeignItem], Field(max_length=MAX_CATEGORIES)]
    background: Annotated[list[ForeignItem], Field(max_length=MAX_CATEGORIES)] = []

    @model_validator(mode="before")
    @classmethod
    def _no_old_key(cls, data: object) -> object:
        """Refuse the name that `background` had in earlier versions, which would otherwise be ignored."""
        if isinstance(data, dict) and "hidden" in data and "background" not in data:
            raise ValueError("the key 'hidden' was renamed to 'background'; rename it in the file")
        return data


class SavedRecord(BaseModel):
    """A vocabulary as written by `Vocabulary.to_dict`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=MAX_NAME_LENGTH)] | None
    categories: Annotated[list[SavedCategoryRecord], Field(max_length=MAX_CATEGORIES)]
    # "hidden" in checkpoints written before 2026-12, including the embedded model
    background: Annotated[
        list[SavedCategoryRecord],
        Field(max_length=MAX_CATEGORIES, validation_alias=AliasChoices("background", "hidden")),
    ]


Record = TypeVar("Record", bound=BaseModel)


def read_entries(data: object, *, origin: str) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Convert the content of a JSON or YAML file into categories and background classes.

    Raises:
        VocabularyError: the content is malformed. The message names `origin` and the location in it.
    """
    try:
        if isinstance(data, list):
            return _to_entries(_validate(ListRecord, {"categories": data}).categories), ()
        record = _validate(FileRecord, data)
        return _to_entries(record.categories), _to_entries(record.background)
    except VocabularyError as error:
        raise VocabularyError(f"{origin}: {error}") from error


def read_saved(data: object) -> SavedRecord:
    """Validate the output of `Vocabulary.to_dict`. Safe for untrusted data.

    Raises:
        VocabularyError: a key is missing or unknown, or a value has the wrong type or is too large.
    """
    try:
        return _validate(SavedRecord, data)
    except VocabularyError as error:
        raise VocabularyError(f"this is not a saved vocabulary: {error}") from error


def write_category(category: Category) -> dict[str, Any]:
    """Return the JSON form of one category."""
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
            f'{shown}{more}. Expected a list of class names or of objects such as {{"name": "cat", '
            '"synonyms": ["kitty"], "isthing": true, "color": [255, 0, 0], "id": 1}'
        ) from error
