import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.specks import remove_specks, without_specks

from .scenes import make_scene


@given(st.integers(0, 2**31), st.floats(0.0, 0.3))
def test_small_components_become_void_and_nothing_else_changes(seed: int, min_share: float):
    id_map = np.random.default_rng(seed).integers(0, 4, (9, 11)).astype(np.int32)
    before = id_map.copy()
    cleaned = remove_specks(id_map, min_share=min_share)
    assert np.array_equal(id_map, before)
    assert set(np.unique(cleaned)) - {0} == set(np.unique(id_map)) - {0}
    assert np.array_equal(cleaned[cleaned > 0], id_map[cleaned > 0])
    for id in set(np.unique(id_map)) - {0}:
        components, count = ndimage.label(id_map == id)
        areas = [int((components == index).sum()) for index in range(1, count + 1)]
        for index, area in enumerate(areas, start=1):
            kept = bool((cleaned[components == index] == id).all())
            assert kept or area < min_share * id_map.size
            if not kept:
                assert (cleaned[components == index] == 0).all()
                assert area <= max(areas)
            elif area < min_share * id_map.size:
                assert area == max(areas)  # the largest stays, whatever its size


def test_segments_have_their_new_areas_and_boxes():
    scene = make_scene(1, queries=8, visible=3)
    thresholds = {"object_mask_threshold": 0.0, "overlap_threshold": 0.0}
    output = panoptic(scene.scored, scene.sizes, categories=scene.categories, **thresholds)
    assert without_specks(output, min_share=0.0) is output
    cleaned = without_specks(output, min_share=0.05)
    assert [segment.id for segment in cleaned.segments] == [segment.id for segment in output.segments]
    for segment in cleaned.segments:
        rows, columns = np.nonzero(cleaned.id_map == segment.id)
        assert segment.area == len(rows) > 0
        x, y, width, height = segment.bbox
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
