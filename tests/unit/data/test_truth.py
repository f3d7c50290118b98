import numpy as np

from ovrcoat.data.truth import IGNORED, PanopticTruth, semantic_from_panoptic
from ovrcoat.formats.annotations import SegmentAnnotation


def test_every_pixel_gets_the_position_of_its_segments_category():
    truth = PanopticTruth(
        id_map=np.array([[0, 70_000, 5], [5, 9, 9]], dtype=np.int32),
        segments=(
            SegmentAnnotation(id=70_000, category_id=200, area=1),
            SegmentAnnotation(id=5, category_id=1, area=2),
            SegmentAnnotation(id=9, category_id=1, area=2, is_crowd=True),
        ),
    )
    assert semantic_from_panoptic(truth, [1, 200]).tolist() == [[IGNORED, 1, 0], [0, 0, 0]]


def test_what_is_in_no_segment_is_ignored():
    truth = PanopticTruth(id_map=np.array([[3, 0]], dtype=np.int32), segments=())
    assert semantic_from_panoptic(truth, [1]).tolist() == [[IGNORED, IGNORED]]
