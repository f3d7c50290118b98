import pytest

from ovrcoat.results.background import BackgroundShare, background_note, background_shares


def test_shares_are_sorted_and_without_empty_classes():
    shares = background_shares({"sky": 10, "cow": 61, "sea": 0}, pixels=100)
    assert shares == (BackgroundShare("cow", 0.61), BackgroundShare("sky", 0.1))
    assert shares[0].to_dict() == {"category": "cow", "share": 0.61}


def test_the_note_names_the_largest_and_what_to_do():
    shares = background_shares({"cow": 500, "a": 20, "b": 30, "c": 40}, pixels=1000)
    note = background_note(shares, has_segments=True)
    assert note is not None
    assert note.startswith(
        "59 % of the image went to background classes: cow 0.50, c 0.04, b 0.03 and others. "
    )
    assert "--background none" in note


@pytest.mark.parametrize(
    ("area", "has_segments", "is_noted"), [(3, True, False), (3, False, True), (0, False, False)]
)
def test_a_little_is_noted_only_without_segments(area: int, has_segments: bool, is_noted: bool):
    shares = background_shares({"cow": area}, pixels=100)
    assert (background_note(shares, has_segments=has_segments) is not None) == is_noted
