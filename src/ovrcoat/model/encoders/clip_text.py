"""CLIP's text tower: OpenCLIP's transformer and byte-pair tokenizer, without padding.

Attention is causal, so that the state of a token does not depend on later tokens. Therefore texts are not
padded to 77 tokens, and common prefixes of texts are computed once (`token_tree.py`). For the usual prompts
this is a twentieth of the work.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ovrcoat.model.encoders.token_tree import TokenTree, token_trees
from ovrcoat.model.linear import affine, linear

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import ResidualAttentionBlock

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)  # CLIP's initial value of its temperature


class ClipTextTower(nn.Module):
    """Token and position embeddings, a causal pre-norm transformer, and a projection of the end token."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        layers: int,
        context_length: int,
        vocabulary_size: int,
        activation: Literal["gelu", "quick_gelu"],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        from open_clip.transformer import QuickGELU, Transformer

        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(
            width, layers, heads, act_layer=QuickGELU if activation == "quick_gelu" else nn.GELU
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embedding_dim))
        # CLIP's initialization
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """Encode token ids (start, text, end, zeros) without a tree, as a reference. Not normalized."""
        count = tokens.shape[1]
        states = self.token_embedding(tokens) + self.positional_embedding[:count]
        future = states.new_full((count, count), -torch.inf).triu(1)
        states = self.transformer(states, attn_mask=future)
        ends = tokens.argmax(dim=-1)  # the end token has the largest id
        return self._project(states[torch.arange(len(states), device=states.device), ends])

    def encode_tree(self, tree: TokenTree) -> Float[Tensor, "text embedding"]:
        """Encode the texts of a tree. The result equals that of `forward` up to rounding."""
        states = self.token_embedding(tree.tokens) + self.positional_embedding[tree.depths]
        *layers, final_layer = self.transformer.resblocks
        for layer in layers:
            states = _apply(layer, states, tree)
        return self._project(_apply(final_layer, states, tree, only=tree.ends))

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed texts, not normalized. Each distinct text and each common prefix is computed once."""
        if not texts:
            return self.text_projection.new_zeros((0, self.text_projection.shape[1]))
        distinct = list(dict.fromkeys(texts))
        index_of_text = {text: index for index, text in enumerate(distinct)}
        order: list[int] = []
        embedded = []
        for indices, tree in token_trees([self.token_ids(text) for text in distinct]):
            order.extend(indices)
            embedded.append(self.encode_tree(tree.to(self.text_projection.device)))
        positions = torch.tensor(order).argsort()[[index_of_text[text] for text in texts]]
        return torch.cat(embedded)[positions.to(self.text_projection.device)]

    def token_ids(self, text: str) -> list[int]:
        """Return the start token, the byte pairs of the text, truncated to fit, and the end token."""
        truncated = self.tokenizer.encode(text)[: self.context_length - 2]
        return [self.tokenizer.sot_token_id, *truncated, self.tokenizer.eot_token_id]

    def text_length(self, text: str) -> tuple[int, int]:
        """Return the number of tokens of `text` and the limit, both without start and end."""
        return len(self.tokenizer.encode(text)), self.context_length - 2

    @cached_property
    def tokenizer(self) -> "SimpleTokenizer":
        """CLIP's tokenizer, created for the first text. Its merges are part of the open_clip package."""
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()

    def _project(self, states: Float[Tensor, "text width"]) -> Float[Tensor, "text embedding"]:
        """Project the states of end tokens into the common space, in full precision even under autocast."""
        with torch.autocast(states.device.type, enabled=False):
            return self.ln_final(states) @ self.text_projection


def _apply(
    layer: "ResidualAttentionBlock",
    states: Float[Tensor, "node width"],
    tree: TokenTree,
    *,
    only: Int[Tensor, " text"] | None = None,
) -> Float[Tensor, "_ width"]:
    """Apply a layer of OpenCLIP's transformer to a tree. Return the states of the nodes `only`, or of all."""
    attention = layer.attn
    mixed = affine(layer.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
    attended = tree.attend(*mixed.chunk(3, dim=-1), heads=attention.num_heads)
    if only is not None:
        states, attended = states[only], attended[only]
    states = states + layer.ls_1(linear(attended, attention.out_proj))
    return states + layer.ls_2(_mlp(layer.mlp, layer.ln_2(states)))


def _mlp(layers: nn.Sequential, states: Float[Tensor, "node width"]) -> Float[Tensor, "node width"]:
    """Apply OpenCLIP's two linear layers with the activation between them."""
    expand, activation, project = layers
    if isinstance(activation, nn.GELU):
        return linear(linear(states, expand, activation="gelu"), project)
    return linear(activation(linear(states, expand)), project)
