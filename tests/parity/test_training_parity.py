"""Compare with recorded training steps: arrays, losses, assignments, gradients and parameters."""

from collections import Counter
from pathlib import Path

import pytest

from parity_network import load_subject
from parity_training import check_training

CASES = {"convnext": {"pair", "one_empty", "all_empty"}, "resnet": {"pair_bn_eval"}}  # of the reference data


def check(folder: Path, family: str) -> Counter[str]:
    """Assert that everything passes; return how many lines passed, by case."""
    lines = list(check_training(load_subject(folder, family)))
    assert [str(line) for line in lines if line.status not in {"ok", "an input"}] == []
    passed = Counter(line.name.split("/")[2] for line in lines if line.status == "ok")
    assert passed["parameters"] > 100, "trainable sets, learning rates and weight decays of both stages"
    return passed


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_training_matches_the_committed_reference(reference: Path, family: str):
    passed = check(reference, family)
    assert passed.keys() >= CASES[family]
    assert min(passed[case] for case in CASES[family]) > 200


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_training_matches_the_larger_recording(shared_fixtures: Path, family: str):
    assert check(shared_fixtures / "A", family).keys() >= {"pair", "one_empty", "all_empty"}
