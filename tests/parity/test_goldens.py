"""Our own recorded numbers: a regression shows without any outside file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from make_goldens import FAMILIES, golden_outputs

GOLDENS = Path(__file__).parents[1] / "goldens"


def test_every_family_is_recorded_in_little_space():
    assert {path.stem for path in GOLDENS.glob("*.safetensors")} == set(FAMILIES)
    assert sum(path.stat().st_size for path in GOLDENS.iterdir()) < 200_000


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_the_recorded_ones(family):
    recorded, ours = load_file(GOLDENS / f"{family}.safetensors"), golden_outputs(family)
    assert recorded.keys() == ours.keys()
    for name, value in recorded.items():
        allowed = 1e-4 * float(value.abs().max())
        torch.testing.assert_close(
            ours[name], value, rtol=0, atol=allowed, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_numbers_are_worth_comparing(family):
    """Masks of both signs, categories that differ, nothing saturated."""
    recorded = load_file(GOLDENS / f"{family}.safetensors")
    inside = (recorded["mask_logits"] > 0).float().mean()
    assert 0.05 < inside < 0.95
    assert recorded["category_probs"].std() > 0.01
    assert 0.01 < recorded["objectness"].mean() < 0.999
