"""The recorded training of the released code: every array, loss, assignment, gradient norm and parameter."""

from collections import Counter
from pathlib import Path

import pytest

from parity_network import load_subject
from parity_training import check_training


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_training_is_the_recorded_one(shared_fixtures: Path, family: str):
    lines = list(check_training(load_subject(shared_fixtures / "A", family)))
    assert [str(line) for line in lines if line.status not in {"ok", "an input"}] == []
    kinds = Counter(line.name.split("/")[2] for line in lines if line.status == "ok")
    assert kinds["parameters"] > 100, "trainable sets, rates and decays of both stages"
    assert kinds.keys() >= {"pair", "one_empty", "all_empty"}
