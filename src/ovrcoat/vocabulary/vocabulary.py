"""The words that an image is asked for, as one value: from text, lists, files and presets to categories."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.background import SHORT, default_pool, negatives
from ovrcoat.vocabulary.catalog import complete, is_published, list_presets, preset_categories
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import Entry, parse_entries, parse_entry
from ovrcoat.vocabulary.lint import Problem, TextLength, find_problems
from ovrcoat.vocabulary.loading import SIZE_LIMITS, read_file
from ovrcoat.vocabulary.records import read_saved, write_category


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Categories to be named, and hidden ones that only compete and are reported as void.

    `name` is that of the preset or the stem of the file. `repeats` are names that were dropped because their
    category already had them; `lint` tells them.
    """

    categories: tuple[Category, ...]
    background: tuple[Category, ...] = ()
    name: str | None = None
    repeats: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, *texts: str) -> "Vocabulary":
        """Take one string per category: `Vocabulary.of("cat, kitty", "sofa", "wall#stuff")`.

        Raises:
            VocabularyError: a string holds no name or several categories.
        """
        for text in texts:
            if ";" in text or "\n" in text.strip():
                raise VocabularyError(
                    f"{text!r} holds several categories, but in a list each string is one; "
                    "split it, or use Vocabulary.parse"
                )
        return _assemble(tuple(parse_entry(text) for text in texts))

    @classmethod
    def parse(cls, text: str) -> "Vocabulary":
        """Read the text syntax: `Vocabulary.parse("cat, kitty; sofa, couch; wall#stuff; dog#thing")`.

        Raises:
            VocabularyError: a category has a mark but no name, or a mark other than #thing and #stuff.
        """
        return _assemble(parse_entries(text))

    @classmethod
    def named(cls, name: str) -> "Vocabulary":
        """Give a preset, exactly as published; `list_presets()` tells which there are.

        Raises:
            VocabularyError: there is no such preset.
        """
        preset = _preset_form(name)
        return cls(preset_categories(preset), name=preset)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a .txt, .json, .yaml or .yml file (forms: docs/vocabulary.md).

        Raises:
            VocabularyError: the file cannot be read or its form is wrong.
        """
        path = Path(path)
        entries, background = read_file(path)
        try:
            return _assemble(entries, background=background, name=path.stem)
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error

    @classmethod
    def read(cls, source: object) -> "Vocabulary":
        """Take whatever a user has: a Vocabulary, a path, a list of strings, or a string.

        A string is a file if it ends like one (.txt .json .yaml .yml), else a preset if it is the name of
        one, else words. So "coco" is the preset; the word alone is `Vocabulary.of("coco")`.

        Raises:
            VocabularyError: see `load`, `of`, `parse`; or `source` is something else.
        """
        if isinstance(source, Vocabulary):
            return source
        if isinstance(source, Path):
            return cls.load(source)
        if isinstance(source, str):
            return cls._read_text(source)
        if isinstance(source, list | tuple) and all(isinstance(item, str) for item in source):
            return cls.of(*source)
        raise VocabularyError(
            "a vocabulary is a Vocabulary, a text such as 'cat, kitty; sofa', a preset's name, the path of a "
            f"file or a list of strings; this is {type(source).__name__}: {str(source)[:60]!r}"
        )

    @classmethod
    def _read_text(cls, text: str) -> "Vocabulary":
        if ";" not in text and text.rstrip().lower().endswith(tuple(SIZE_LIMITS)):
            return cls.load(text.strip())
        if _preset_form(text) in list_presets():
            return cls.named(text)
        return cls.parse(text)

    @classmethod
    def from_dict(cls, data: object) -> "Vocabulary":
        """Read what `to_dict` wrote; safe for data from strangers.

        Raises:
            VocabularyError: something is missing, unknown, of a wrong type or too large.
        """
        saved = read_saved(data)
        categories = tuple(record.to_category() for record in saved.categories)
        return cls(
            categories, background=tuple(record.to_category() for record in saved.background), name=saved.name
        )

    def to_dict(self) -> dict[str, Any]:
        """Give a form that JSON can hold; as a .json file it is also one that `load` reads."""
        return {
            "name": self.name,
            "categories": [write_category(category) for category in self.categories],
            "background": [write_category(category) for category in self.background],
        }

    @property
    def all_categories(self) -> tuple[Category, ...]:
        """Everything that takes part in the softmaxes: the asked categories, then the hidden ones."""
        return self.categories + self.background

    def __len__(self) -> int:
        return len(self.categories)

    def seen_in(self, training: "Vocabulary | Collection[str]") -> tuple[bool, ...]:
        """Tell for each of `all_categories` whether training knew it, by the rule of the published protocol.

        Seen means: at least one name is, character by character, a name of a training category. No trimming,
        no lower case, no plurals: the published numbers are made with this rule.
        """
        if isinstance(training, Vocabulary):
            known = {name for category in training.categories for name in category.names}
        else:
            known = set(training)
        return tuple(not known.isdisjoint(category.names) for category in self.all_categories)

    def with_background(self, background: object = "auto") -> "Vocabulary":
        """Choose the background classes (why: background.py).

        "auto": COCO's and ADE20K's categories if this list is short and no preset, unless it already has
        background classes; "on": those categories in any case; "none": no background classes; anything else: whatever
        `read` takes. Of presets everything that rivals the own words is left out; own words are taken as they
        are.

        Raises:
            VocabularyError: see `read`; or `background` holds no words.
        """
        if background == "none":
            return replace(self, background=())
        if background == "auto" and (self.background or len(self) >= SHORT or is_published(self.categories)):
            return self
        if background in ("auto", "on"):
            return replace(self, background=negatives(self.categories, pool=default_pool()))
        words = Vocabulary.read(background).categories
        if not words:
            raise VocabularyError("the background holds no words; for no background at all give 'none'")
        background = negatives(self.categories, pool=words) if is_published(words) else words
        return replace(self, background=background)

    def lint(self, text_length: TextLength | None = None) -> tuple[Problem, ...]:
        """Find what is wrong or doubtful.

        `text_length` tells the tokens that a NAME takes and the most that the text tower takes; without it
        lengths are not checked. Whoever passes it leaves room for the prompt around the name.
        """
        return find_problems(self.categories, self.background, repeats=self.repeats, text_length=text_length)

    def check(self, text_length: TextLength | None = None) -> None:
        """Refuse a vocabulary that cannot be used.

        Raises:
            VocabularyError: `lint` found errors; the message holds all of them, one per line.
        """
        errors = [problem.message for problem in self.lint(text_length) if problem.level == "error"]
        if errors:
            raise VocabularyError("\n".join(errors))


def _preset_form(name: str) -> str:
    """Give a preset's name as we write it: "ADE20K_847" is "ade20k-847"."""
    return name.strip().lower().replace("_", "-")


def _assemble(
    entries: Sequence[Entry], *, background: Sequence[Entry] = (), name: str | None = None
) -> Vocabulary:
    """Build a user's vocabulary: names that repeat inside a category are dropped and remembered."""
    repeats = tuple(
        repeat
        for entry in (*entries, *background)
        for position, repeat in enumerate(entry.names)
        if repeat in entry.names[:position]
    )
    return Vocabulary(
        complete(_unique(entries)), background=complete(_unique(background)), name=name, repeats=repeats
    )


def _unique(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(replace(entry, names=tuple(dict.fromkeys(entry.names))) for entry in entries)
