import itertools

import pytest

from ovrcoat.training.config import ScheduleConfig
from ovrcoat.training.schedule import learning_rate_factor


def test_the_published_milestones():
    schedule = ScheduleConfig(steps=368_750, warmup_steps=0)
    changes = {0: 1.0, 327_777: 1.0, 327_778: 0.1, 355_091: 0.1, 355_092: 0.01, 368_749: 0.01}
    assert {step: learning_rate_factor(step, schedule) for step in changes} == pytest.approx(changes)


def test_the_rate_rises_then_falls_to_zero():
    schedule = ScheduleConfig(steps=100, warmup_steps=10, decay="cosine")
    factors = [learning_rate_factor(step, schedule) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(0, ScheduleConfig(steps=5, warmup_steps=0)) == 1


def test_the_rate_scales_with_the_batch():
    published = ScheduleConfig(steps=1, batch_size=16, learning_rate=1e-4)
    assert published.peak_learning_rate == 1e-4
    scaled = ScheduleConfig(steps=1, batch_size=4, learning_rate=1e-4, reference_batch_size=16)
    assert scaled.peak_learning_rate == pytest.approx(2.5e-5)
