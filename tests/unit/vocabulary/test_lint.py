"""Every issue has its code and message."""

import re
from pathlib import Path

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Category, Vocabulary, list_presets
from ovrcoat.vocabulary.hints import find_model_hints
from ovrcoat.vocabulary.records import MAX_CATEGORIES


def vocabulary_of(*names: str) -> Vocabulary:
    """One category per name, with nothing stripped."""
    return Vocabulary(tuple(Category((name,), True, id) for id, name in enumerate(names, start=1)))


def issues(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    return [(issue.severity, str(issue)) for issue in vocabulary.lint()]


def test_a_valid_vocabulary_has_no_issues():
    good = Vocabulary.parse("cat, kitty; Sofa; wall#stuff; café; 猫; 🐱; R2-D2; St. Paul's; می\u200cخواهم")
    assert good.lint() == ()
    good.check()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary(()), "contains no class names; write for example"),
        (vocabulary_of("cat", "a\nb"), r"invisible characters; .*1 ×: 'a\\nb'"),
        (vocabulary_of("cat", "a\x07b"), r"control or invisible characters; .*1 ×: 'a\\x07b'"),
        (vocabulary_of("cat", "do\u200bg"), r"invisible characters; .*1 ×: 'do\\u200bg'"),
        (vocabulary_of("cat", "\u202edog"), "invisible characters"),
        (vocabulary_of("cat", "\ud800"), "invisible characters"),
        (vocabulary_of("cat", "..."), r"nothing but punctuation; .*1 ×: '\.\.\.'"),
        (vocabulary_of("cat", "+ -"), "nothing but punctuation"),
        (vocabulary_of("cat", "  "), "names are blank; .*1 ×: '  '"),
        (vocabulary_of("cat", ""), "names are blank"),
        (vocabulary_of("cat", "dog", "Cat"), "more than one category .*1 ×: 'cat'"),
        (Vocabulary.parse("cat").with_background("dog, cat"), r"\(background classes included\).*1 ×: 'cat'"),
        (
            Vocabulary((Category(("a",), True, 3), Category(("b",), True, 3))),
            "categories have the same id; give each category its own id .1 ×: 3",
        ),
        (
            vocabulary_of(*(f"word {n}" for n in range(MAX_CATEGORIES + 1))),
            "5,001 categories are too many, 5,000 are",
        ),
    ],
)
def test_errors_are_found_and_raised(vocabulary: Vocabulary, message: str):
    assert [issue.severity for issue in vocabulary.lint()] == ["error"]
    with pytest.raises(VocabularyError, match=message):
        vocabulary.check()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary.parse("cat, dog, cow"), "ONE category with 3 names; did you mean 'cat; dog; cow'"),
        (Vocabulary.parse("ade-20k"), "'ade-20k' is used as a class name; did you mean the preset 'ade20k'"),
        (
            Vocabulary.parse("cat, kitty, cat; dog"),
            "given twice in their category; the repetitions were dropped (1 ×: 'cat')",
        ),
    ],
)
def test_warnings_do_not_raise(vocabulary: Vocabulary, message: str):
    ((level, found),) = issues(vocabulary)
    assert level == "warning"
    assert message in found
    vocabulary.check()


def test_names_that_are_too_long_for_the_text_tower():
    with pytest.raises(
        VocabularyError, match=r"text tower takes 5 tokens; shorten them .1 ×: 'a very long name' has 16"
    ):
        Vocabulary.parse("cat; a very long name").check(lambda text: (len(text), 5))


def test_lengths_of_background_classes_are_checked():
    vocabulary = Vocabulary.parse("cat").with_background("hippopotamus; sky")
    assert len(vocabulary.lint(lambda text: (len(text), 5))) == 1


def test_all_errors_are_reported_at_once():
    with pytest.raises(VocabularyError, match=r"(?s)punctuation.*\n.*more than one category"):
        vocabulary_of("cat", "!!", "cat").check()


def test_many_examples_stay_readable():
    vocabulary = vocabulary_of("cat", *("!" * n for n in range(1, 100)))
    ((_, message),) = issues(vocabulary)
    assert "(99 ×: " in message
    assert message.endswith(" …)")
    assert len(message) < 200


def test_long_names_are_shortened_in_messages():
    ((_, message),) = issues(vocabulary_of("cat", "!" * 500))
    assert len(message) < 200


def test_presets_may_have_a_name_in_two_categories():
    assert Vocabulary.named("ade20k-847").lint() == ()
    shared = Vocabulary.named("ade20k-847").with_background("flurb, wall")
    assert [level for level, _ in issues(shared)] == ["error"]


@pytest.mark.parametrize(
    ("vocabulary", "codes"),
    [
        (Vocabulary(()), ["vocabulary-empty"]),
        (vocabulary_of("a\nb", "..."), ["name-invisible-characters", "name-punctuation"]),
        (vocabulary_of("cat", "  ", "Cat"), ["name-blank", "name-in-several-categories"]),
        (Vocabulary((Category(("a",), True, 3), Category(("b",), True, 3))), ["category-id-repeated"]),
        (Vocabulary.parse("cat, cat, kitty"), ["name-repeated", "single-category"]),
        (Vocabulary.parse("ade-20k"), ["preset-misspelled"]),
    ],
)
def test_each_kind_of_issue_has_its_code(vocabulary: Vocabulary, codes: list[str]):
    assert [issue.code for issue in vocabulary.lint()] == codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat/dog/sofa", "ONE category named 'cat/dog/sofa'; did you mean 'cat; dog; sofa'"),
        ("cat\\ndog", "did you mean 'cat; dog'"),
        ("cat. dog", "did you mean 'cat; dog'"),
        ("cat and dog", "did you mean 'cat; dog'"),
        ("cat dog", "did you mean 'cat; dog'"),
        ("cat|kitty; dog", "names contain separators; semicolons separate categories .* 'cat|kitty'"),
        ("a photo of a cat; dog", "write only the class, for example 'cat' (1 ×: 'a photo of a cat')"),
        ("class_1; cat", "names do not say what is visible"),
        ("LABEL 3; background; cat", "names do not say what is visible"),
        ("sky_area; cat", "check that the names that are used instead describe"),
    ],
)
def test_probable_mistakes_are_warned_of(text: str, message: str):
    found = [str(issue) for issue in Vocabulary.parse(text).lint() if issue.severity == "warning"]
    assert any(re.search(re.escape(message).replace(r"\.\*", ".*"), one) for one in found), found


@pytest.mark.parametrize(
    "text",
    ["hot dog", "salt and pepper shaker", "traffic light", "wiper (for windshield/screen); St. Bernard"],
)
def test_names_of_several_words_are_not_mistakes(text: str):
    assert Vocabulary.parse(text).lint() == ()


def test_recognized_names_are_noted():
    (issue,) = Vocabulary.parse("wall-other-merged; dining-table; Cat; gizmo").lint()
    assert (issue.severity, issue.code) == ("note", "name-recognized")
    assert issue.examples == [
        "'wall-other-merged' is read as 'wall, walls'",
        "'dining-table' is read as 'dining table'",
    ]


def test_names_of_a_file_that_were_left_out_are_noted(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text("__ignore__\n_background_\ncat\ndog\n")
    (issue,) = Vocabulary.load(path).lint()
    assert (issue.severity, issue.code) == ("note", "name-skipped")
    assert issue.examples == ["'__ignore__'", "'_background_'"]


def test_published_lists_have_no_warnings():
    assert all(Vocabulary.named(preset).lint() == () for preset in list_presets())


class TestRivals:
    @pytest.mark.parametrize("background", ["cat; sky", "animal; sky"])
    def test_background_classes_that_include_a_class_are_warned_of(self, background: str):
        vocabulary = Vocabulary.parse("kitty; dog").with_background(background)
        (issue,) = vocabulary.lint()
        assert (issue.severity, issue.code) == ("warning", "background-rival")
        assert issue.examples == [repr(background.split(";", maxsplit=1)[0])]

    @pytest.mark.parametrize("background", ["auto", "on", "coco", "moss; sky"])
    def test_others_are_not(self, background: str):
        assert Vocabulary.parse("kitty; dog").with_background(background).lint() == ()


def test_names_that_a_text_tower_cannot_represent():
    vocabulary = Vocabulary.parse("cat; 猫; кот").with_background("sky; 空")
    (issue,) = find_model_hints(
        vocabulary.categories, vocabulary.background, is_unknown=lambda name: not name.isascii()
    )
    assert (issue.severity, issue.code) == ("warning", "name-not-representable")
    assert issue.examples == ["'猫'", "'кот'", "'空'"]


def test_a_single_class_without_alternatives():
    alone = Vocabulary.parse("cat").with_background("none")
    (issue,) = find_model_hints(alone.categories, alone.background, is_unknown=lambda name: False)
    assert (issue.severity, issue.code) == ("note", "no-alternatives")
    assert "every mask gets this class" in issue.message


def test_examples_are_counted_and_limited():
    (issue,) = vocabulary_of("cat", *("!" * n for n in range(1, 100))).lint()
    assert issue.examples == ["'!'", "'!!'", "'!!!'", "'!!!!'", "'!!!!!'"]
    assert issue.count == 99
