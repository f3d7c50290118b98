"""Documentation, help texts and public names use the terms of the field, and one term per concept.

Each `Term` forbids what the project once called something else. Its pattern is searched in the pages, in the
newest section of the changelog (without the table of renamed things) and in the help of all commands. Public
names are split into words, and each word is compared with `FORBIDDEN_IN_NAMES`.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ovrcoat
from ovrcoat.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
]
COMMANDS = [
    *("segment", "explain", "evaluate", "score", "compare", "check-data", "prepare"),
    *("train", "models", "vocabularies", "convert", "package", "doctor", "serve"),
]


@dataclass(frozen=True, slots=True)
class Term:
    """A pattern that is not used, what to write instead, and a sentence that the pattern has to find."""

    pattern: str
    instead: str
    example: str


TERMS = (
    Term(r"photos?", "image", "Every photo is encoded once."),
    Term(r"words?", "vocabulary, class names", "Words are embedded once."),
    Term(r"text[ -_]rows?|rows of names|unit rows", "text embeddings", "The text rows are kept on disk."),
    Term(r"questions?|QuestionBuilder", "prompt, request", "One photo, many questions"),
    Term(r"answer(?:s|ed|ing)?", "prediction, result", "The answers come in order."),
    Term(r"ask(?:s|ed|ing)?", "request, predict", "The model is asked for 20 names."),
    Term(r"claim_pixels|claims? \w+ pixels?|holder", "pixel assignment", "A mask claims its pixels."),
    Term(r"fates?|tale", "mask status", "Explain tells the fate of every mask."),
    Term(
        r"lost[ _]masks?|masks are lost|became of", "error analysis, missed", "It says where masks are lost."
    ),
    Term(
        r"hidden (?:words?|negatives?|ones?|class|classes|category|categories)",
        "background classes",
        "Hidden words compete.",
    ),
    Term(r"background words?|hidden negatives?", "background classes", "A background word fits better."),
    Term(r"takes? sides|on_map|per_pixel", "the name of the operation", "Every mask takes sides."),
    Term(r"certainty", "clip_confidence, CLIP's confidence", "COAT uses CLIP's certainty."),
    Term(r"findings?|faults?|doubts?|doubtful|problems?", "issue, warning", "All faults at once."),
    Term(r"side[ -]threads?|untold", "background worker", "A side thread reads the files."),
    Term(
        r"(?:read|look|work)(?:s|ing|ed)? ahead|(?:ahead of|behind) the network|written behind",
        "prefetch, write-behind",
        "Images are read ahead of the network.",
    ),
    Term(r"photo[ _]stream|extras\.require", "image loader; optional dependency", "The photo stream"),
    Term(r"clip_norm", "max_grad_norm", "Set `clip_norm: 0.01`."),
    Term(r"warm_up", "warmup_steps", "Set `warm_up: 100`."),
    Term(r"encoder_rate", "encoder_lr_multiplier", "Set `encoder_rate: 0.1`."),
    Term(r"watch(?:es|ed|ing)?", "validation", "Set `watch` to see the losses."),
    Term(r"photos_at_once", "micro_batch_size", "Set `photos_at_once: 1`."),
    Term(r"Habits|StageNews|Lessons?|UntouchedEncoder", "the class's new name", "StageNews are printed."),
    Term(r"(?<![\w-])-v", "--vocabulary", "ovrcoat segment a.jpg -v cat"),
    Term(r"--threshold(?!-)", "--object-mask-threshold", "Pass `--threshold 0.5`."),
    Term(r"--overlap(?!-)", "--overlap-threshold", "Pass `--overlap 0.8`."),
    Term(r"segment\.box|boxes? \(x, y", "bbox", "print(segment.box)"),
    Term(r"told|untold|said|met|lies|lying|laid", "reported, specified, is stored", "Errors are still told."),
    Term(r"data sets?", "dataset", "Four data sets are read."),
    Term(
        r"\w*(?:colour|labelled|labelling|grey|neighbour|favourite|licence)\w*|centred?|optimisers?"
        r"|(?:initial|normal|optim|real|recogn|organ|general|special|visual|final)is(?:e[ds]?|ing|ation)",
        "American spelling",
        "Unlabelled pixels are grey and normalised.",
    ),
)
# Names of example files, quoted prompts and terms with another meaning.
ALLOWED = re.compile(
    r"\bphotos?(?:/|\.jpg|\.png|\.overlay)|[\"']photos[\"']|\ba photo of\b|\bblack-and-white photo\b|^Photos:"
    r"|text-rows-\d|\blast words?\b|\bword pieces?\b|\bbelow 25 words\b",
    re.I | re.M,
)

FORBIDDEN_IN_NAMES = {
    *("photo", "photos", "word", "words", "question", "questions", "answer", "answers", "ask", "asked"),
    *("claim", "claims", "holder", "won", "fate", "fates", "tale", "lost", "hidden", "certainty"),
    *("finding", "findings", "fault", "faults", "doubt", "doubts", "problem", "problems"),
    *("ahead", "behind", "told", "untold", "tell", "said", "lies", "looks", "dense", "box", "boxes"),
    *("watch", "habits", "lesson", "joint", "news", "rows"),
}
FORBIDDEN_NAMES = {"on_map", "per_pixel", "clip_norm", "warm_up", "encoder_rate", "take_sides", "memory"}


def forbidden_terms(text: str) -> list[str]:
    """Every use of a term that is not used, as "line: found (write: ...)"."""
    cleaned = ALLOWED.sub(lambda allowed: " " * len(allowed[0]), text)
    return [
        f"{cleaned.count(chr(10), 0, match.start()) + 1}: {match[0]!r} (write: {term.instead})"
        for term in TERMS
        for match in re.finditer(rf"(?<!\w)(?:{term.pattern})(?!\w)", cleaned, flags=re.I)
    ]


def prose_of(page: Path) -> str:
    """The text of a page; of the changelog, the newest section without the table of renamed things."""
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":
        newest = re.search(r"^## \[.*?(?=^## \[|\Z)", text, flags=re.M | re.S)
        assert newest is not None
        text = re.sub(r"^\|.*$", "", newest[0], flags=re.M)
    return text


def words_of(name: str) -> set[str]:
    """ "MaskStatus" → {"mask", "status"}, "segment_many" → {"segment", "many"}."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def is_forbidden_name(name: str) -> bool:
    return name in FORBIDDEN_NAMES or bool(words_of(name) & FORBIDDEN_IN_NAMES)


def parameters_of(function: object) -> Iterator[str]:
    try:
        yield from inspect.signature(function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):  # not a function, or one of C
        return


def public_names() -> Iterator[str]:
    """The names at the root, and the attributes and parameters of what they stand for."""
    for name in ovrcoat.__all__:
        public = getattr(ovrcoat, name)
        yield name
        if not inspect.isclass(public):
            yield from (f"{name}({parameter})" for parameter in parameters_of(public))
            continue
        attributes = {
            *vars(public),
            *getattr(public, "__annotations__", {}),
            *getattr(public, "__dataclass_fields__", {}),
        }
        for attribute in {*dir(public), *attributes}:
            if attribute.startswith("_"):
                continue
            yield f"{name}.{attribute}"
            parameters = parameters_of(getattr(public, attribute, None))
            yield from (f"{name}.{attribute}({parameter})" for parameter in parameters)
        yield from (f"{name}({parameter})" for parameter in parameters_of(public))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_terms_of_the_field(page: Path):
    assert forbidden_terms(prose_of(page)) == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_texts_use_the_terms_of_the_field(command: str, capsys: pytest.CaptureFixture[str]):
    main([*command.split(), "--help"])
    lines = [line.strip(" │╭╮╰╯─") for line in capsys.readouterr().out.splitlines()]
    text = " ".join(lines)
    assert "Usage: ovrcoat" in text
    assert forbidden_terms(text) == []


def test_public_names_use_the_terms_of_the_field():
    names = set(public_names())
    assert len(names) > 100
    found = [name for name in names if is_forbidden_name(re.split(r"[.(]", name.rstrip(")"))[-1])]
    assert sorted(found) == []


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.pattern)
def test_a_forbidden_term_is_found(term: Term):
    found = forbidden_terms(f"A good first line.\n{term.example}")
    assert any(line.startswith("2: ") and line.endswith(f"(write: {term.instead})") for line in found)


@pytest.mark.parametrize(
    "sentence",
    [
        "Unreadable images are reported on stderr and skipped.",
        "ovrcoat segment photo.jpg photos/ 'photos/*.jpg' --overlap-threshold 0.7 --object-mask-threshold 0",
        'The prompt is "a photo of a {}."; `find_images("photos")` lists files.',
        "`black dog` excludes `dog` by its last word. Peak memory is bounded by write-behind queues.",
        "Uncertain masks win fewer pixels; masks of a dataset are placeholders by default.",
    ],
)
def test_good_sentences_pass(sentence: str):
    assert forbidden_terms(sentence) == []


@pytest.mark.parametrize(
    ("name", "is_bad"),
    [
        *[("MaskFate", True), ("lost_masks", True), ("on_map", True), ("photoCount", True), ("box", True)],
        *[("MaskStatus", False), ("bbox", False), ("error_analysis", False), ("placeholder", False)],
    ],
)
def test_names_are_compared_word_by_word(name: str, is_bad: bool):
    assert is_forbidden_name(name) is is_bad


def test_only_the_newest_section_of_the_changelog_is_read_and_not_its_tables(tmp_path: Path):
    page = tmp_path / "CHANGELOG.md"
    page.write_text(
        "# Log\n\n## [2]\n\n| `box` | `fate` |\n\nGood.\n\n## [1]\n\nA photo.\n", encoding="utf-8"
    )
    assert "Good." in prose_of(page)
    assert forbidden_terms(prose_of(page)) == []
    page.write_text("# Log\n\n## [2]\n\nA photo.\n", encoding="utf-8")
    assert forbidden_terms(prose_of(page)) == ["3: 'photo' (write: image)"]
