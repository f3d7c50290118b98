"""Trees of token ids: their content, and that attention over them is causal attention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ovrcoat.model.encoders.token_tree import BLOCK, NO_KEY, TokenTree, token_trees

Rows = list[list[int]]
END = 9
# few different tokens, so that many beginnings are shared; some texts twice
ROWS = st.lists(
    st.lists(st.integers(0, 2), max_size=9).map(lambda words: [*words, END]), min_size=1, max_size=60
)


def seen(tree: TokenTree, node: int) -> list[int]:
    """The nodes that a node attends to, by depth."""
    block, query = divmod(node, BLOCK)
    nodes = tree.keys[block][tree.visible[block, query]].tolist()
    assert NO_KEY not in nodes
    return sorted(nodes, key=lambda other: int(tree.depths[other]))


@settings(deadline=None, max_examples=40)
@given(texts=ROWS, max_nodes=st.integers(1, 200))
def test_every_text_attends_to_its_own_tokens_in_order(texts: Rows, max_nodes: int) -> None:
    places = []
    for members, tree in token_trees(texts, max_nodes=max_nodes):
        places += members
        assert len(tree.tokens) <= max(max_nodes, *(len(texts[member]) for member in members))
        for member, end in zip(members, tree.ends.tolist(), strict=True):
            nodes = seen(tree, end)
            assert tree.tokens[nodes].tolist() == texts[member]
            assert tree.depths[nodes].tolist() == list(range(len(texts[member])))
    assert sorted(places) == list(range(len(texts)))


@settings(deadline=None, max_examples=40)
@given(texts=ROWS)
def test_each_prefix_is_stored_once(texts: Rows) -> None:
    ((_, tree),) = token_trees(texts, max_nodes=10_000)
    beginnings = {tuple(row[:count]) for row in texts for count in range(1, len(row) + 1)}
    assert len(tree.tokens) == len(beginnings)


def test_a_text_may_be_a_prefix_of_another() -> None:
    ((members, tree),) = token_trees([[1, 2, 3], [1, 2]])
    assert (members, tree.tokens.tolist(), tree.ends.tolist()) == ([1, 0], [1, 2, 3], [1, 2])


def test_no_text_needs_no_tree() -> None:
    assert list(token_trees([])) == []


@settings(deadline=None, max_examples=20)
@given(texts=ROWS, seed=st.integers(0, 99))
def test_attention_equals_that_of_each_text_alone(texts: Rows, seed: int) -> None:
    ((_, tree),) = token_trees(texts, max_nodes=10_000)
    generator = torch.Generator().manual_seed(seed)
    queries, keys, values = torch.randn(3, len(tree.tokens), 8, generator=generator)
    attended = tree.attend(queries, keys, values, heads=2)
    for end in tree.ends.tolist():
        text = seen(tree, end)
        query, key, value = (
            states[text].unflatten(-1, (2, 4)).transpose(0, 1) for states in (queries, keys, values)
        )
        alone = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        torch.testing.assert_close(attended[text], alone.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, BLOCK, BLOCK + 1])
def test_gradients_are_finite_however_full_the_last_block_is(count: int) -> None:
    ((_, tree),) = token_trees([list(range(count))])
    states = torch.randn(count, 4, requires_grad=True)
    tree.to(states.device).attend(states, states, states, heads=1).sum().backward()
    assert states.grad is not None
    assert states.grad.isfinite().all()
