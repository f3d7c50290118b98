import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.evaluation.reports.bootstrap import (
    Draws,
    panoptic_figures,
    resample,
    semantic_figures,
    tally_matrix,
)

DRAWS = Draws(samples=250, seed=0)
LoadedImage = dict[int, tuple[int | float, ...]]


def random_images(seed: int, *, images: int = 30, gain: float = 0.0) -> list[LoadedImage]:
    """Tallies of categories 3 and 9; `gain` turns that share of what was missed into matches."""
    generator = np.random.default_rng(seed)
    tallies = []
    for _ in range(images):
        counts = {}
        for id in (3, 9):
            tp, fp, fn = generator.integers(0, 4, size=3).tolist()
            found = int(generator.binomial(fn, gain))
            counts[id] = (tp + found, fp, fn - found, 0.8 * (tp + found))
        tallies.append(counts)
    return tallies


def pq_of(sums: np.ndarray) -> np.ndarray:
    return panoptic_figures(sums.reshape(len(sums), 2, 4), [[0, 1]])


def matrix(images: list[LoadedImage]):
    return tally_matrix(images, [3, 9], width=4)


def test_the_matrix_holds_each_tally_in_its_place():
    found = tally_matrix([{9: (1, 2, 3, 0.5)}, {}, {3: (4, 0, 0, 2.5)}], [3, 9], width=4).toarray()
    np.testing.assert_array_equal(found, [[0, 0, 0, 0, 1, 2, 3, 0.5], [0] * 8, [4, 0, 0, 2.5, 0, 0, 0, 0]])
    assert tally_matrix([{}, {}], [3], width=3).shape == (2, 3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_identical_runs_differ_by_exactly_nothing(seed: int):
    images = matrix(random_images(seed))
    resampled = resample(images, images, pq_of, draws=DRAWS)
    np.testing.assert_array_equal(resampled.first, resampled.second)
    assert not resampled.differences.any()
    assert resampled.interval(0, 2) == (0, 0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_interval_holds_the_difference_and_turns_with_the_sides(seed: int):
    a, b = matrix(random_images(seed)), matrix(random_images(seed, gain=0.5))
    resampled = resample(a, b, pq_of, draws=DRAWS)
    low, high = resampled.interval(0, 2)
    assert low <= (resampled.second - resampled.first)[0, 2] <= high
    turned = resample(b, a, pq_of, draws=DRAWS).interval(0, 2)
    assert turned == (pytest.approx(-high), pytest.approx(-low))


def test_the_interval_is_right_about_as_often_as_it_says():
    """Many data sets of which the true difference is known (that of a very large one)."""
    many = {"images": 3000}
    truth = resample(
        matrix(random_images(999, **many)),
        matrix(random_images(999, gain=0.3, **many)),
        pq_of,
        draws=Draws(1, 0),
    )
    expected = (truth.second - truth.first)[0, 2]
    hits = 0
    for seed in range(60):
        found = resample(
            matrix(random_images(seed)), matrix(random_images(seed, gain=0.3)), pq_of, draws=Draws(200, seed)
        )
        low, high = found.interval(0, 2)
        hits += low <= expected <= high
    assert 50 <= hits <= 60


def test_the_number_of_samples_at_once_changes_nothing(monkeypatch):
    a, b = matrix(random_images(1)), matrix(random_images(2))
    together = resample(a, b, pq_of, draws=Draws(50, 3))
    monkeypatch.setattr("ovrcoat.evaluation.reports.bootstrap.AT_ONCE", 7)
    in_parts = resample(a, b, pq_of, draws=Draws(50, 3))
    np.testing.assert_allclose(in_parts.differences, together.differences, atol=1e-10)
    assert together.differences.shape == (50, 3, 3)


def test_panoptic_figures_follow_the_rules():
    sums = np.array([[[2.0, 1, 1, 1.5], [0, 0, 0, 0], [0, 1, 0, 0]]])
    figures = panoptic_figures(sums, [[0, 1, 2], [1]])
    # categories: counted, not counted, only predicted; groups: their mean, and one where nothing counts
    np.testing.assert_allclose(figures[0, 0], [50, np.nan, 0, 25, np.nan])
    np.testing.assert_allclose(figures[0, 1], [75, np.nan, 0, 37.5, np.nan])
    np.testing.assert_allclose(figures[0, 2], [100 * 2 / 3, np.nan, 0, 100 / 3, np.nan])


def test_semantic_figures_count_only_categories_with_truth():
    sums = np.array([[[5.0, 10, 5], [0, 0, 7], [0, 4, 0]]])
    np.testing.assert_allclose(semantic_figures(sums, [[0, 1, 2]])[0, 0], [50, np.nan, 0, 25])


def test_no_interval_where_no_resample_has_the_figure():
    nothing = tally_matrix([{}, {}], [3, 9], width=4)
    assert resample(nothing, nothing, pq_of, draws=DRAWS).interval(0, 0) is None
