"""Texts as a prefix tree, for text towers with causal attention.

With causal attention the state of a token depends only on the tokens before it, so texts with a common
prefix share the states of that prefix. ADE20K's 402 names in 14 templates have 58,000 tokens, but only 24,000
nodes in such a tree. Nothing is padded, and no token is computed twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

MAX_NODES = (
    2048  # of one tree; bounds memory for any number of texts, and is enough for large matrix products
)
# Nodes whose attention is one small matrix. It takes a hundredth of the time of the linear layers.
BLOCK = 64
NO_KEY = -1


@dataclass(frozen=True, slots=True, eq=False)
class TokenTree:
    """Tokens of several texts in depth-first order; a common prefix is stored once.

    In this order the descendants of a node directly follow it. Therefore a block of `BLOCK` nodes attends
    only to nodes of the block itself and to the path from the root to the block's first node.

    Attributes:
        tokens: token id of each node.
        depths: position of each node in its text.
        ends: node of each text's last token.
        keys: nodes that a block attends to, padded with `NO_KEY`.
        visible: which keys are the query itself or precede it in its text.
    """

    tokens: Int[Tensor, " node"]
    depths: Int[Tensor, " node"]
    ends: Int[Tensor, " text"]
    keys: Int[Tensor, "block key"]
    visible: Bool[Tensor, "block query key"]

    def to(self, device: torch.device) -> "TokenTree":
        """Return the tree on another device."""
        return TokenTree(
            tokens=self.tokens.to(device),
            depths=self.depths.to(device),
            ends=self.ends.to(device),
            keys=self.keys.to(device),
            visible=self.visible.to(device),
        )

    def attend(
        self,
        queries: Float[Tensor, "node channel"],
        keys: Float[Tensor, "node channel"],
        values: Float[Tensor, "node channel"],
        *,
        heads: int,
    ) -> Float[Tensor, "node channel"]:
        """Apply causal multi-head attention: each node attends to itself and to the nodes before it."""
        count, width = queries.shape
        padded = F.pad(queries, (0, 0, 0, len(self.keys) * BLOCK - count)).view(-1, BLOCK, width)
        attended = F.scaled_dot_product_attention(
            _split_heads(padded, heads),
            _split_heads(keys[self.keys], heads),
            _split_heads(values[self.keys], heads),
            attn_mask=self.visible[:, None],
        )
        return attended.transpose(1, 2).reshape(-1, width)[:count]


def token_trees(
    texts: Sequence[Sequence[int]], *, max_nodes: int = MAX_NODES
) -> Iterator[tuple[list[int], TokenTree]]:
    """Distribute texts over trees.

    A prefix that two trees have in common is computed twice.

    Args:
        texts: token ids of each text; no text is empty.
        max_nodes: maximum number of nodes of a tree. Only a single longer text exceeds it.

    Yields:
        The indices of a tree's texts, and the tree.
    """
    members: list[int] = []
    nodes = 0
    for index in sorted(range(len(texts)), key=lambda index: tuple(texts[index])):
        added = len(texts[index])
        if members:
            added -= _common_prefix(texts[members[-1]], texts[index])
            if nodes + added > max_nodes:
                yield members, _build([texts[member] for member in members])
                members, nodes, added = [], 0, len(texts[index])
        members.append(index)
        nodes += added
    if members:
        yield members, _build([texts[member] for member in members])


def _build(texts: Sequence[Sequence[int]]) -> TokenTree:
    """Build the tree of sorted texts."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    last_descendant: list[int] = []  # of each node
    paths: list[list[int]] = []  # of each block, from the root to the node before its first node
    path: list[int] = []  # from the root to the latest node
    previous: Sequence[int] = ()
    for text in texts:
        shared = _common_prefix(previous, text)
        del path[shared:]
        for token in text[shared:]:
            if len(tokens) % BLOCK == 0:
                paths.append(path.copy())
            path.append(len(tokens))
            last_descendant.append(len(tokens))
            depths.append(len(path) - 1)
            tokens.append(token)
        for node in path:
            last_descendant[node] = len(tokens) - 1
        ends.append(path[-1])
        previous = text
    keys = _keys(paths, count=len(tokens))
    return TokenTree(
        tokens=torch.tensor(tokens),
        depths=torch.tensor(depths),
        ends=torch.tensor(ends),
        keys=keys,
        visible=_visible(keys, torch.tensor(last_descendant)),
    )


def _keys(paths: Sequence[Sequence[int]], *, count: int) -> Int[Tensor, "block key"]:
    """Return the nodes that each block may attend to: the path to its first node, then its own nodes."""
    longest = max(map(len, paths))
    keys = torch.full((len(paths), longest + BLOCK), NO_KEY)
    for block, path in enumerate(paths):
        keys[block, : len(path)] = torch.tensor(path, dtype=torch.long)
    own = torch.arange(len(paths) * BLOCK)
    keys[:, longest:] = own.where(own < count, NO_KEY).view(-1, BLOCK)
    return keys


def _visible(
    keys: Int[Tensor, "block key"], last_descendant: Int[Tensor, " node"]
) -> Bool[Tensor, "block query key"]:
    """Return whether a key is the query or an ancestor of it.

    Queries that only pad the last block attend to every key. Their results are not used, but a softmax over
    no key would be NaN, which gradients propagate.
    """
    queries = torch.arange(len(keys) * BLOCK).view(-1, BLOCK, 1)
    is_padding = queries >= len(last_descendant)
    is_ancestor = (keys[:, None] <= queries) & (queries <= last_descendant[keys][:, None])
    return is_padding | ((keys != NO_KEY)[:, None] & is_ancestor)


def _split_heads(
    tokens: Float[Tensor, "block token channel"], heads: int
) -> Float[Tensor, "block head token part"]:
    """Split the channels between the attention heads."""
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(1, 2)


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    differing = (index for index, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    return next(differing, min(len(one), len(other)))
