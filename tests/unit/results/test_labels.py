import numpy as np

from ovrcoat.results.fonts import typeset
from ovrcoat.results.labels import distance_to_edge, overlap, place_labels


def test_room_is_the_distance_to_the_nearest_edge_of_four():
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:, 1:6] = True  # reaches down to the image's edge, which counts
    room = distance_to_edge(mask, aspect=2.0)
    assert room[3].tolist() == [0, 0.5, 1, 1.5, 1, 0.5, 0]
    assert room[:, 3].tolist() == [0, 1, 1.5, 1.5, 1]


def test_labels_do_not_lie_on_each_other():
    random = np.random.default_rng(0)
    id_map = random.integers(1, 40, (8, 12)).astype(np.int32).repeat(40, axis=0).repeat(40, axis=1)
    names = {id: typeset(f"a rather long name {id}", 12) for id in range(1, 40)}
    boxes = [box for _, box in place_labels(id_map, names, pad=3)]
    assert len(boxes) > 10
    assert not any(overlap(one, other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_label_lies_inside_its_segment_wherever_that_is():
    text = typeset("cat", 12)
    for top, left in [(0, 0), (500, 700), (0, 700), (500, 0), (260, 340)]:
        id_map = np.zeros((600, 800), dtype=np.int32)
        id_map[top : top + 100, left : left + 100] = 4
        ((id, box),) = place_labels(id_map, {4: text}, pad=3)
        assert id == 4
        assert (box[0] >= left, box[1] >= top) == (True, True)
        assert (box[2] <= left + 100, box[3] <= top + 100) == (True, True)
