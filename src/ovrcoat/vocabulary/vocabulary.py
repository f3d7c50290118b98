"""Vocabulary: the categories to find in an image, from text, lists, files and presets."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from ovrcoat.errors import VocabularyError
from ovrcoat.issues import Issue
from ovrcoat.vocabulary.background import SHORT_VOCABULARY, default_pool, select_background
from ovrcoat.vocabulary.catalog import complete, is_preset, is_published, preset_categories, preset_form
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import Entry, check_sizes, parse_entries, parse_entry
from ovrcoat.vocabulary.lint import TextLength, find_errors, find_issues
from ovrcoat.vocabulary.loading import is_vocabulary_path, read_file
from ovrcoat.vocabulary.names import is_code, normal_name, recognize
from ovrcoat.vocabulary.records import read_entries, read_saved, write_category
from ovrcoat.vocabulary.separators import split_categories


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Categories to find in an image, and background classes that compete with them.

    Pixels that are assigned to a background class are reported as void.

    Attributes:
        categories: the categories.
        background: the background classes.
        name: name of the preset, or stem of the file name; None for other vocabularies.
        repeats: names that were dropped because their category already had them. `lint` reports these and the
            following.
        changes: pairs of names as written, such as "wall-other-merged", and the names that are used instead.
        skipped: names of a file that stand for no class, such as "__ignore__".
    """

    categories: tuple[Category, ...]
    background: tuple[Category, ...] = ()
    name: str | None = None
    repeats: tuple[str, ...] = field(default=(), compare=False, repr=False)
    changes: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    skipped: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, *texts: str) -> "Vocabulary":
        """Create a vocabulary from one string per category.

        Example:
            `Vocabulary.of("cat, kitty", "sofa", "wall#stuff")`

        Raises:
            VocabularyError: a string contains no name or several categories.
        """
        for text in texts:
            if len([part for part in split_categories(text) if part.strip()]) > 1:
                raise VocabularyError(
                    f"{text!r} contains several categories, but each string of a list must be one category; "
                    "split it, or use Vocabulary.parse"
                )
        return _assemble(tuple(parse_entry(text) for text in texts))

    @classmethod
    def parse(cls, text: str) -> "Vocabulary":
        """Create a vocabulary from text: semicolons separate categories, commas separate synonyms.

        Separators of other tools split categories where they are unambiguous, for example "cat . dog ." and
        "cat | dog".

        Example:
            `Vocabulary.parse("cat, kitty; sofa, couch; wall#stuff; dog#thing")`

        Raises:
            VocabularyError: a category has no name before "#", or something else than #thing or #stuff.
        """
        return _assemble(parse_entries(text))

    @classmethod
    def named(cls, name: str) -> "Vocabulary":
        """Return a preset, exactly as published. `list_presets()` returns the names of all presets.

        Raises:
            VocabularyError: there is no such preset.
        """
        preset = preset_form(name)
        return cls(preset_categories(preset), name=preset)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a text, CSV, JSON or YAML file. docs/vocabulary.md describes the formats.

        Raises:
            VocabularyError: the file cannot be read or is malformed.
        """
        path = Path(path)
        content = read_file(path)
        if not content.categories:
            raise VocabularyError(
                f"{path}: this file contains no class names, expected at least one; add them"
            )
        try:
            vocabulary = _assemble(content.categories, background=content.background, name=path.stem)
            return replace(vocabulary, skipped=content.skipped)
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error

    @overload
    @classmethod
    def read(cls, source: "Vocabulary") -> "Vocabulary": ...
    @overload
    @classmethod
    def read(cls, source: "VocabularyInput") -> "Vocabulary": ...
    @classmethod
    def read(cls, source: object) -> "Vocabulary":
        """Create a vocabulary from any `VocabularyInput`.

        Args:
            source: one of:

                - a `Vocabulary`, which is returned as it is,
                - a path (`load`),
                - a list or tuple of strings, one per category (`of`),
                - a string: a file if it ends in .txt, .names, .csv, .tsv, .json, .yaml or .yml; otherwise a
                  preset if it is the name of one; otherwise a file if one exists at this path; otherwise text
                  (`parse`). "coco" is the preset; for a category of that name use `Vocabulary.of("coco")`.

        Raises:
            VocabularyError: see `load`, `of` and `parse`; or `source` has another type.
        """
        return cls._read(source)

    @classmethod
    def _read(cls, source: object) -> "Vocabulary":
        if isinstance(source, Vocabulary):
            return source
        if isinstance(source, PathLike):
            return cls.load(Path(source))
        if isinstance(source, str):
            return cls._read_text(source)
        if isinstance(source, list | tuple) and all(isinstance(item, str) for item in source):
            return cls.of(*source)
        raise VocabularyError(
            f"the vocabulary is of type {type(source).__name__} ({str(source)[:60]!r}), expected text such "
            "as 'cat, kitty; sofa', a preset, the path of a file, a list of strings or a Vocabulary"
        )

    @classmethod
    def _read_text(cls, text: str) -> "Vocabulary":
        if is_preset(text):
            return cls.named(text)
        if is_vocabulary_path(text):
            return cls.load(text.strip())
        return cls.parse(text)

    @classmethod
    def from_untrusted(cls, source: str | list[Any]) -> "Vocabulary":
        """Create a vocabulary from data of a stranger, such as a web request. No file is opened.

        Args:
            source: the name of a preset, text as for `parse`, or a list with one item per category: strings
                as for `of`, or objects as in a JSON vocabulary file, with the keys "name", "synonyms" and
                "isthing".

        Raises:
            VocabularyError: the text or an item is malformed, or there are too many.
        """
        if isinstance(source, str):
            return cls.named(source) if is_preset(source) else cls.parse(source)
        if all(isinstance(item, str) for item in source):
            return cls.of(*source)
        return _assemble(read_entries(source, origin="the vocabulary")[0])

    @classmethod
    def from_dict(cls, data: object) -> "Vocabulary":
        """Create a vocabulary from the output of `to_dict`. Safe for untrusted data.

        Raises:
            VocabularyError: a key is missing or unknown, or a value has the wrong type or is too large.
        """
        saved = read_saved(data)
        categories = tuple(record.to_category() for record in saved.categories)
        return cls(
            categories, background=tuple(record.to_category() for record in saved.background), name=saved.name
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable form. `load` can read it from a .json file."""
        return {
            "name": self.name,
            "categories": [write_category(category) for category in self.categories],
            "background": [write_category(category) for category in self.background],
        }

    @property
    def all_categories(self) -> tuple[Category, ...]:
        """All classes that take part in the softmaxes: the categories, then the background classes."""
        return self.categories + self.background

    def __len__(self) -> int:
        return len(self.categories)

    def seen_in(self, training: "Vocabulary | Collection[str]") -> tuple[bool, ...]:
        """Return for each of `all_categories` whether it was seen in training.

        A category is seen if at least one of its names equals a name of a training category exactly, without
        stripping, lower-casing or plurals. This is the rule of the published protocol.

        Args:
            training: the training vocabulary, or the names of its categories.
        """
        if isinstance(training, Vocabulary):
            known = {name for category in training.categories for name in category.names}
        else:
            known = set(training)
        # a model may have been trained before codes were replaced; no published training list has codes
        known |= {normal_name(name) for name in known if is_code(name)}
        return tuple(not known.isdisjoint(category.names) for category in self.all_categories)

    @overload
    def with_background(self, background: Literal["auto", "on", "none", "keep"] = ...) -> "Vocabulary": ...
    @overload
    def with_background(self, background: "VocabularyInput") -> "Vocabulary": ...
    def with_background(self, background: object = "auto") -> "Vocabulary":
        """Return this vocabulary with other background classes (`background.py` explains their purpose).

        Args:
            background: one of:

                - "auto": the categories of COCO and ADE20K if this vocabulary is short and not a preset. A
                  vocabulary that already has background classes keeps them.
                - "on": the categories of COCO and ADE20K in any case.
                - "none": no background classes.
                - "keep": the background classes that this vocabulary has.
                - Any other `VocabularyInput`: these classes. Of a preset, the categories that compete with
                  this vocabulary are left out; other vocabularies are used without changes.

        Raises:
            VocabularyError: see `read`; or `background` contains no class names.
        """
        if background == "keep":
            return self
        if background == "none":
            return replace(self, background=())
        if background == "auto" and (
            self.background or len(self) >= SHORT_VOCABULARY or is_published(self.categories)
        ):
            return self
        if background in ("auto", "on"):
            return replace(self, background=select_background(self.categories, pool=default_pool()))
        given = Vocabulary._read(background)
        chosen = given.categories
        if not chosen:
            raise VocabularyError("the background contains no class names; for no background use 'none'")
        if is_published(chosen):
            chosen = select_background(self.categories, pool=chosen)
        return replace(
            self,
            background=chosen,
            changes=self.changes + given.changes,
            skipped=self.skipped + given.skipped,
        )

    def lint(self, text_length: TextLength | None = None) -> tuple[Issue, ...]:
        """Return errors, which make the vocabulary unusable, warnings about probable mistakes, and notes.

        Args:
            text_length: returns the number of tokens of a name and the largest number that leaves room for
                the prompt template. None: lengths are not checked.
        """
        return find_issues(
            self.categories,
            self.background,
            repeats=self.repeats,
            changes=self.changes,
            skipped=self.skipped,
            text_length=text_length,
        )

    def check(self, text_length: TextLength | None = None) -> None:
        """Raise if the vocabulary cannot be used. For `text_length` see `lint`.

        Raises:
            VocabularyError: `lint` found errors. The message contains all of them, one per line.
        """
        if errors := find_errors(self.categories, self.background, text_length=text_length):
            raise VocabularyError("\n".join(map(str, errors)))


# What `Vocabulary.read` accepts, and every function that takes a vocabulary.
VocabularyInput: TypeAlias = Vocabulary | str | PathLike[str] | list[str] | tuple[str, ...]


def _assemble(
    entries: Sequence[Entry], *, background: Sequence[Entry] = (), name: str | None = None
) -> Vocabulary:
    """Create a vocabulary. Dataset spellings are replaced (`names.py`), repeated names dropped."""
    check_sizes(entries)
    check_sizes(background)
    repeats = tuple(repeat for entry in (*entries, *background) for repeat in _repeats(entry.names))
    found, negative = recognize(_unique(entries)), recognize(_unique(background))
    return Vocabulary(
        complete(found.entries),
        background=complete(negative.entries),
        name=name,
        repeats=repeats,
        changes=found.changes + negative.changes,
    )


def _repeats(names: Sequence[str]) -> Iterator[str]:
    """Yield each name that occurred before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


def _unique(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(replace(entry, names=tuple(dict.fromkeys(entry.names))) for entry in entries)
