"""Every finding has its message."""

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Category, Vocabulary
from ovrcoat.vocabulary.records import MAX_CATEGORIES


def words(*names: str) -> Vocabulary:
    """One category per name, with nothing stripped."""
    return Vocabulary(tuple(Category((name,), True, id) for id, name in enumerate(names, start=1)))


def issues(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    return [(problem.level, problem.message) for problem in vocabulary.lint()]


def test_good_words_have_no_issues():
    good = Vocabulary.parse("cat, kitty; Sofa; wall#stuff; café; 猫; 🐱; R2-D2; St. Paul's; می\u200cخواهم")
    assert good.lint() == ()
    good.check()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary(()), "no words are given; write for example"),
        (words("cat", "a\nb"), r"invisible characters: 'a\\nb'"),
        (words("cat", "a\x07b"), r"control or invisible characters: 'a\\x07b'"),
        (words("cat", "do\u200bg"), r"invisible characters: 'do\\u200bg'"),
        (words("cat", "\u202edog"), "invisible characters"),
        (words("cat", "\ud800"), "invisible characters"),
        (words("cat", "..."), r"nothing but punctuation: '\.\.\.'"),
        (words("cat", "+ -"), "nothing but punctuation"),
        (words("cat", "  "), "nothing but blanks: '  '"),
        (words("cat", ""), "nothing but blanks"),
        (words("cat", "dog", "Cat"), "more than one category .*: 'cat'"),
        (Vocabulary.parse("cat").with_background("dog, cat"), r"\(hidden ones count\): 'cat'"),
        (
            Vocabulary((Category(("a",), True, 3), Category(("b",), True, 3))),
            "categories have the same id: 3; give each its own",
        ),
        (
            words(*(f"word {n}" for n in range(MAX_CATEGORIES + 1))),
            "5,001 categories are too many, 5,000 are",
        ),
    ],
)
def test_errors_are_found_and_refused(vocabulary: Vocabulary, message: str):
    assert [problem.level for problem in vocabulary.lint()] == ["error"]
    with pytest.raises(VocabularyError, match=message):
        vocabulary.check()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary.parse("cat, dog, cow"), "ONE category with 3 names; did you mean 'cat; dog; cow'"),
        (Vocabulary.parse("ade-20k"), "'ade-20k' is taken as a word; did you mean the preset 'ade20k'"),
        (
            Vocabulary.parse("cat, kitty, cat; dog"),
            "given twice in their category: 'cat'; the repeats were dropped",
        ),
    ],
)
def test_warnings_do_not_refuse(vocabulary: Vocabulary, message: str):
    ((level, found),) = issues(vocabulary)
    assert level == "warning"
    assert message in found
    vocabulary.check()


def test_names_longer_than_the_text_tower_takes():
    with pytest.raises(VocabularyError, match=r"'a very long name' takes 16 tokens, .* takes 5; shorten it"):
        Vocabulary.parse("cat; a very long name").check(lambda text: (len(text), 5))


def test_hidden_names_are_measured_too():
    vocabulary = Vocabulary.parse("cat").with_background("hippopotamus; sky")
    assert len(vocabulary.lint(lambda text: (len(text), 5))) == 1


def test_all_errors_come_at_once():
    with pytest.raises(VocabularyError, match=r"(?s)punctuation.*\n.*more than one category"):
        words("cat", "!!", "cat").check()


def test_many_faults_stay_readable():
    vocabulary = words("cat", *("!" * n for n in range(1, 100)))
    ((_, message),) = issues(vocabulary)
    assert "and 94 more" in message
    assert len(message) < 200


def test_long_names_are_shortened_in_messages():
    ((_, message),) = issues(words("cat", "!" * 500))
    assert len(message) < 200


def test_presets_may_have_a_name_in_two_categories():
    assert Vocabulary.named("ade20k-847").lint() == ()
    shared = Vocabulary.named("ade20k-847").with_background("flurb, wall")
    assert [level for level, _ in issues(shared)] == ["error"]
