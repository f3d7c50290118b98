"""Random towers in place of those of the packages, with four classes."""

import pytest
import torch

import alignment
import initial_model
from alignment import ImageNetClass
from ovrcoat.config import NanoTextConfig
from ovrcoat.model.encoders.nano import LiteTrunk, SentenceTower

TOKENS = 27_628  # of the tokenizer that is part of the package
CLASSES = tuple(
    ImageNetClass(f"n{index}", (name,), f"some {name}")
    for index, name in enumerate(("tench", "hen", "bus", "cup"))
)


def use_random_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build initial models from random towers, and fit the alignment in few steps."""
    torch.manual_seed(0)
    trunk, classifier = LiteTrunk().eval(), torch.randn(4, 1280)
    text_tower = SentenceTower(**NanoTextConfig(vocabulary_size=TOKENS).model_dump()).eval()
    monkeypatch.setattr(initial_model, "lite_trunk", lambda: (trunk, classifier))
    monkeypatch.setattr(initial_model, "sentence_tower", lambda: text_tower)
    monkeypatch.setattr(alignment, "imagenet_classes", lambda: CLASSES)
    monkeypatch.setattr(alignment, "STEPS", 3)
