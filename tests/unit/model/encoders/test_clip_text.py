"""CLIP's text tower compared with OpenCLIP's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ovrcoat.model.encoders.clip_text import ClipTextTower
from ovrcoat.model.encoders.token_tree import token_trees

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


def test_each_distinct_text_is_encoded_once_in_order(tower, monkeypatch):
    texts = []
    encode_tree = tower.encode_tree
    monkeypatch.setattr(tower, "encode_tree", lambda tree: texts.append(len(tree.ends)) or encode_tree(tree))
    embedded = tower.embed(TEXTS)
    assert texts == [3]
    assert torch.equal(embedded[1], embedded[3])
    for text, row in zip(TEXTS, embedded, strict=True):
        torch.testing.assert_close(tower.embed([text])[0], row, rtol=1e-4, atol=1e-6)


def small_tower(seed: int) -> ClipTextTower:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = ClipTextTower(
            width=16,
            heads=2,
            layers=3,
            context_length=12,
            vocabulary_size=6,
            activation="gelu",
            embedding_dim=8,
        )
        for weight in (*tower.token_embedding.parameters(), tower.positional_embedding):
            nn.init.normal_(weight)  # CLIP's own start is so small that all texts look alike
    return tower.eval()


ROWS = st.lists(
    st.lists(st.integers(0, 4), max_size=11).map(lambda tokens: [*tokens, 5]), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=25)
@given(texts=ROWS, max_nodes=st.integers(1, 200), seed=st.integers(0, 3))
def test_a_tree_of_texts_equals_each_text_alone(texts, max_nodes, seed):
    tower = small_tower(seed)
    with torch.no_grad():
        ((order, whole),) = token_trees(texts, max_nodes=10_000)
        embedded = tower.encode_tree(whole)
        for place, row in zip(order, embedded, strict=True):
            alone = tower(torch.tensor([texts[place]]))[0]
            torch.testing.assert_close(row, alone, rtol=0, atol=1e-5)
        parts = [
            (places, tower.encode_tree(tree)) for places, tree in token_trees(texts, max_nodes=max_nodes)
        ]
    again = torch.cat([rows_of_part for _, rows_of_part in parts])
    assert [place for places, _ in parts for place in places] == order
    torch.testing.assert_close(again, embedded, rtol=0, atol=1e-6)


def test_autocast_applies_to_matrix_products_only(tower):
    with torch.no_grad():
        exact = tower.embed(TEXTS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = tower.embed(TEXTS)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (F.cosine_similarity(rough, exact) > 0.999).all()


def test_gradients_equal_those_without_a_tree():
    tower = small_tower(0)
    texts = [[0, 1, 5], [0, 2, 3, 5], [0, 1, 1, 5]]
    gradients = []
    for compute in (
        lambda: torch.cat([tower(torch.tensor([row])) for row in texts]).square().sum(),
        lambda: sum(tower.encode_tree(tree).square().sum() for _, tree in token_trees(texts)),
    ):
        tower.zero_grad()
        compute().backward()
        gradients.append([weight.grad.clone() for weight in tower.parameters()])
    for plain, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)


def test_no_text_gives_no_embedding(tower):
    assert tower.embed([]).shape == (0, 12)


def test_token_ids_equal_openclip(tower):
    from open_clip.tokenizer import SimpleTokenizer

    for text in TEXTS:
        ids = tower.token_ids(text)
        padded = ids + [0] * (77 - len(ids))
        assert padded == SimpleTokenizer()([text])[0].tolist()


def test_a_long_text_is_truncated_and_keeps_its_end_token():
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
