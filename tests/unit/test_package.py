"""What `import ovrcoat` gives: the names themselves are fixed by tests/architecture."""

import pytest

import ovrcoat


def test_names_come_from_their_homes() -> None:
    from ovrcoat.segmentation.segmenter import Segmenter
    from ovrcoat.vocabulary import Vocabulary

    assert ovrcoat.Segmenter is Segmenter
    assert ovrcoat.Vocabulary is Vocabulary
    assert dir(ovrcoat) == sorted(ovrcoat.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'ovrcoat' has no attribute 'Segmentor'"):
        _ = ovrcoat.Segmentor
