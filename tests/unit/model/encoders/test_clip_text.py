"""CLIP's text tower against OpenCLIP's own."""

import pytest
import torch
from torch import nn

from ovrcoat.model.encoders.clip_text import ClipTextTower

TEXTS = ["a photo of a cat.", "a dog", "There is a very large hovercraft in the scene.", "a dog"]


def make_tower(*, activation="gelu", context_length=77) -> ClipTextTower:
    torch.manual_seed(0)
    return ClipTextTower(
        width=16,
        heads=2,
        layers=2,
        context_length=context_length,
        vocabulary_size=49_408,
        activation=activation,
        embedding_dim=12,
    ).eval()


@pytest.fixture(scope="module")
def tower() -> ClipTextTower:
    return make_tower()


def openclip_tower(tower: ClipTextTower, *, activation: str) -> nn.Module:
    from open_clip.transformer import QuickGELU, TextTransformer

    theirs = TextTransformer(
        width=16,
        heads=2,
        layers=2,
        output_dim=12,
        act_layer=QuickGELU if activation == "quick_gelu" else nn.GELU,
    )
    theirs.load_state_dict(tower.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_equals_openclip_on_77_tokens(activation):
    from open_clip.tokenizer import SimpleTokenizer

    tower = make_tower(activation=activation)
    with torch.no_grad():
        expected = openclip_tower(tower, activation=activation)(SimpleTokenizer()(TEXTS))
        ours = tower.embed(TEXTS)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_activation_matters():
    with torch.no_grad():
        plain, quick = make_tower().embed(TEXTS), make_tower(activation="quick_gelu").embed(TEXTS)
    assert not torch.allclose(plain, quick, atol=1e-5)


def test_each_distinct_text_is_encoded_once_and_order_stays(tower, monkeypatch):
    rows = []
    forward = tower.forward
    monkeypatch.setattr(tower, "forward", lambda tokens: rows.append(len(tokens)) or forward(tokens))
    monkeypatch.setattr("ovrcoat.model.encoders.text_batches.TEXTS_AT_ONCE", 2)
    embedded = tower.embed(TEXTS)
    assert rows == [2, 1]
    assert torch.equal(embedded[1], embedded[3])
    for text, row in zip(TEXTS, embedded, strict=True):
        torch.testing.assert_close(tower.embed([text])[0], row, rtol=1e-4, atol=1e-6)


def test_no_text_gives_no_row(tower):
    assert tower.embed([]).shape == (0, 12)


def test_token_ids_are_openclips(tower):
    from open_clip.tokenizer import SimpleTokenizer

    for text in TEXTS:
        ids = tower.token_ids(text)
        padded = ids + [0] * (77 - len(ids))
        assert padded == SimpleTokenizer()([text])[0].tolist()


def test_a_long_text_is_cut_and_keeps_its_end_token():
    tower = make_tower(context_length=8)
    ids = tower.token_ids("cat " * 20)
    assert len(ids) == 8
    assert (ids[0], ids[-1]) == (49_406, 49_407)
    assert tower.embed(["cat " * 20]).isfinite().all()


def test_text_length_counts_without_start_and_end(tower):
    assert tower.text_length("a cat") == (2, 75)
    assert tower.text_length("") == (0, 75)


def test_gradients_follow_the_callers_mode(tower):
    assert tower.embed(["a cat"]).requires_grad
    with torch.no_grad():
        assert not tower.embed(["a cat"]).requires_grad
