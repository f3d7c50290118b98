from ovrcoat.results.table import GUESS_NOTE, segment_table

from .samples import CATEGORIES, SEGMENTS


def test_one_aligned_line_per_segment():
    lines = segment_table(SEGMENTS, CATEGORIES, name="room.jpg", size=(3, 4)).splitlines()
    assert lines[0] == "room.jpg: 4 × 3 pixels, 3 segments"
    assert lines[1].split() == ["id", "category", "kind", "score", "area", "objectness", "confidence"]
    assert lines[3].split() == ["2", "wall", "stuff", "0.80", "41.7", "%", "0.75", "→", "0.90", "0.60"]
    assert len({len(line) for line in lines[1:5]}) == 1


def test_a_guess_is_told():
    table = segment_table(SEGMENTS, CATEGORIES, name=None, size=(3, 4))
    assert table.startswith("image: ")
    assert "thing?" in table
    assert table.endswith(GUESS_NOTE)
    told = segment_table(SEGMENTS[1:], CATEGORIES, name=None, size=(3, 4))
    assert "?" not in told


def test_nothing_found():
    assert segment_table((), CATEGORIES, name="a.jpg", size=(1, 1)) == "a.jpg: 1 × 1 pixels, 0 segments"
