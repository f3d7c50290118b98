import numpy as np
import pytest

from ovrcoat.results.color_space import difference, lab_to_srgb, srgb_to_lab, vision_labs

# Sharma, Wu, Dalal 2005, table 1: pairs that exercise each term and each discontinuity of the formula
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), PUBLISHED)
def test_the_difference_is_the_published_one_in_both_directions(one, other, expected: float):
    one, other = np.array(one, dtype=float), np.array(other, dtype=float)
    assert float(difference(one, other)) == pytest.approx(expected, abs=5e-5)
    assert float(difference(other, one)) == pytest.approx(expected, abs=5e-5)


def test_known_colors_have_their_published_lab_values():
    colors = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=float)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    assert srgb_to_lab(colors) == pytest.approx(np.array(expected), abs=0.02)


def test_srgb_survives_the_way_to_lab_and_back():
    colors = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(float)
    assert lab_to_srgb(srgb_to_lab(colors)) == pytest.approx(colors, abs=1e-6)


def test_red_and_green_are_similar_with_red_green_color_blindness_only():
    normal, protan, deutan, tritan = vision_labs(np.array([[180, 90, 0], [100, 130, 0]], dtype=float))
    assert difference(normal[0], normal[1]) > 30
    assert max(float(difference(seen[0], seen[1])) for seen in (protan, deutan)) < 10
    assert difference(tritan[0], tritan[1]) > 30


def test_blue_and_green_are_similar_with_tritanopia_only():
    normal, protan, deutan, tritan = vision_labs(np.array([[0, 150, 170], [0, 145, 100]], dtype=float))
    assert difference(tritan[0], tritan[1]) < 10
    assert min(float(difference(seen[0], seen[1])) for seen in (normal, protan, deutan)) > 15
