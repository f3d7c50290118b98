import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ovrcoat.evaluation.reports.bootstrap import (
    BootstrapSettings,
    bootstrap,
    panoptic_metrics,
    semantic_metrics,
    tally_matrix,
)

SETTINGS = BootstrapSettings(samples=250, seed=0)
Tallies = dict[int, tuple[int | float, ...]]


def random_images(seed: int, *, images: int = 30, gain: float = 0.0) -> list[Tallies]:
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
    return panoptic_metrics(sums.reshape(len(sums), 2, 4), [[0, 1]])


def matrix(images: list[Tallies]):
    return tally_matrix(images, [3, 9], width=4)


def test_the_matrix_holds_each_tally_in_its_place():
    found = tally_matrix([{9: (1, 2, 3, 0.5)}, {}, {3: (4, 0, 0, 2.5)}], [3, 9], width=4).toarray()
    np.testing.assert_array_equal(found, [[0, 0, 0, 0, 1, 2, 3, 0.5], [0] * 8, [4, 0, 0, 2.5, 0, 0, 0, 0]])
    assert tally_matrix([{}, {}], [3], width=3).shape == (2, 3)


@hypothesis_settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_identical_runs_have_no_difference(seed: int):
    images = matrix(random_images(seed))
    resampled = bootstrap(images, images, pq_of, settings=SETTINGS)
    np.testing.assert_array_equal(resampled.first, resampled.second)
    assert not resampled.differences.any()
    assert resampled.interval(0, 2) == (0, 0)


@hypothesis_settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_interval_contains_the_difference_and_is_antisymmetric(seed: int):
    a, b = matrix(random_images(seed)), matrix(random_images(seed, gain=0.5))
    resampled = bootstrap(a, b, pq_of, settings=SETTINGS)
    low, high = resampled.interval(0, 2)
    assert low <= (resampled.second - resampled.first)[0, 2] <= high
    swapped = bootstrap(b, a, pq_of, settings=SETTINGS).interval(0, 2)
    assert swapped == (pytest.approx(-high), pytest.approx(-low))


def test_the_interval_has_the_stated_coverage():
    """Many datasets with a known true difference, which is that of a very large dataset."""
    many = {"images": 3000}
    truth = bootstrap(
        matrix(random_images(999, **many)),
        matrix(random_images(999, gain=0.3, **many)),
        pq_of,
        settings=BootstrapSettings(1, 0),
    )
    expected = (truth.second - truth.first)[0, 2]
    hits = 0
    for seed in range(60):
        found = bootstrap(
            matrix(random_images(seed)),
            matrix(random_images(seed, gain=0.3)),
            pq_of,
            settings=BootstrapSettings(200, seed),
        )
        low, high = found.interval(0, 2)
        hits += low <= expected <= high
    assert 50 <= hits <= 60


def test_the_chunk_size_does_not_change_the_result(monkeypatch):
    a, b = matrix(random_images(1)), matrix(random_images(2))
    together = bootstrap(a, b, pq_of, settings=BootstrapSettings(50, 3))
    monkeypatch.setattr("ovrcoat.evaluation.reports.bootstrap.CHUNK_SIZE", 7)
    in_parts = bootstrap(a, b, pq_of, settings=BootstrapSettings(50, 3))
    np.testing.assert_allclose(in_parts.differences, together.differences, atol=1e-10)
    assert together.differences.shape == (50, 3, 3)


def test_panoptic_metrics_follow_the_rules():
    sums = np.array([[[2.0, 1, 1, 1.5], [0, 0, 0, 0], [0, 1, 0, 0]]])
    metrics = panoptic_metrics(sums, [[0, 1, 2], [1]])
    # categories: counted, not counted, only predicted; groups: their mean, and one where nothing counts
    np.testing.assert_allclose(metrics[0, 0], [50, np.nan, 0, 25, np.nan])
    np.testing.assert_allclose(metrics[0, 1], [75, np.nan, 0, 37.5, np.nan])
    np.testing.assert_allclose(metrics[0, 2], [100 * 2 / 3, np.nan, 0, 100 / 3, np.nan])


def test_semantic_metrics_count_only_categories_with_truth():
    sums = np.array([[[5.0, 10, 5], [0, 0, 7], [0, 4, 0]]])
    np.testing.assert_allclose(semantic_metrics(sums, [[0, 1, 2]])[0, 0], [50, np.nan, 0, 25])


def test_no_interval_where_no_resample_has_the_figure():
    nothing = tally_matrix([{}, {}], [3, 9], width=4)
    assert bootstrap(nothing, nothing, pq_of, settings=SETTINGS).interval(0, 0) is None
