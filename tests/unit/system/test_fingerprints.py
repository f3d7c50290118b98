import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from ovrcoat.system.fingerprints import file_sha256, module_fingerprint


def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def linear(seed: int = 0, *, rows: int = 40) -> nn.Linear:
    layer = nn.Linear(1024, rows)
    generator = torch.Generator().manual_seed(seed)
    for weight in layer.parameters():
        weight.data.normal_(generator=generator)
    return layer


def test_equal_weights_and_facts_have_equal_fingerprints() -> None:
    assert module_fingerprint(linear(), {"templates": ("a", "b")}) == module_fingerprint(
        linear(), {"templates": ["a", "b"]}
    )
    assert len(module_fingerprint(linear(), {})) == 64


def test_any_other_weight_shape_or_fact_has_another_fingerprint() -> None:
    changed, moved, swapped, tail, reshaped = (linear() for _ in range(5))
    changed.weight.data[20, 500] += 1e-4
    moved.weight.data = moved.weight.data.roll(1, dims=0)
    first = swapped.weight.data[0, :2].clone()
    swapped.weight.data[0, :2] = first.flip(0)
    tail.bias.data[-1] += 1e-4
    reshaped.weight.data = reshaped.weight.data.view(80, 512)
    modules = [
        linear(),
        linear(1),
        changed,
        moved,
        swapped,
        tail,
        reshaped,
        linear().half(),
        nn.Sequential(linear()),
    ]
    prints = [module_fingerprint(module, {}) for module in modules] + [
        module_fingerprint(linear(), {"templates": ["a"]})
    ]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (7, 11), (2048, 2), (65, 4096)])
def test_tensors_of_any_size_have_a_fingerprint(shape: tuple[int, ...]) -> None:
    module = nn.Module()
    module.register_buffer("values", torch.zeros(shape, dtype=torch.bfloat16))
    before = module_fingerprint(module, {})
    assert before == module_fingerprint(module, {})
    if module.get_buffer("values").numel():
        module.get_buffer("values").view(-1)[-1] = 1
        assert module_fingerprint(module, {}) != before
