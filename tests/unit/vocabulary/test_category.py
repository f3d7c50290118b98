"""One entry of a vocabulary."""

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Category


def test_the_first_name_is_shown():
    assert Category(("cat", "kitty"), True, 1).name == "cat"


def test_a_category_without_names_is_rejected():
    with pytest.raises(VocabularyError, match="needs at least one name"):
        Category((), True, 1)
