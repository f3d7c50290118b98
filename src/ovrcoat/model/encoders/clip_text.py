"""CLIP's text tower, sentences to embeddings: OpenCLIP's transformer and byte-pair tokenizer on short rows.

Attention is causal, so what follows a token cannot change it: nothing is padded to 77 tokens, and what texts
begin with alike is computed once (`token_tree.py`). For the usual prompts that is a twentieth of the work.
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

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)  # where CLIP starts the temperature that both towers share


class ClipTextTower(nn.Module):
    """Token and position embeddings, a causal pre-norm transformer, a projection of the end-of-text token."""

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
        # CLIP's own spread of starting values
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """Encode token ids (start, text, end, zeros), the plain way; not normalized."""
        count = tokens.shape[1]
        states = self.token_embedding(tokens) + self.positional_embedding[:count]
        future = states.new_full((count, count), -torch.inf).triu(1)
        states = self.transformer(states, attn_mask=future)
        ends = tokens.argmax(dim=-1)  # the end-of-text token has the largest id of all
        return self._project(states[torch.arange(len(states), device=states.device), ends])

    def encode_tree(self, tree: TokenTree) -> Float[Tensor, "text embedding"]:
        """Encode the texts of a tree; the same as `forward` up to rounding."""
        states = self.token_embedding(tree.tokens) + self.positional_embedding[tree.depths]
        *layers, final_layer = self.transformer.resblocks
        for layer in layers:
            states = _apply(layer, states, tree)
        return self._project(_apply(final_layer, states, tree, only=tree.ends))

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences, not normalized; each distinct one once, common beginnings once."""
        if not texts:
            return self.text_projection.new_zeros((0, self.text_projection.shape[1]))
        distinct = list(dict.fromkeys(texts))
        place_of_text = {text: place for place, text in enumerate(distinct)}
        order: list[int] = []
        embedded = []
        for places, tree in token_trees([self.token_ids(text) for text in distinct]):
            order.extend(places)
            embedded.append(self.encode_tree(tree.to(self.text_projection.device)))
        back = torch.tensor(order).argsort()[[place_of_text[text] for text in texts]]
        return torch.cat(embedded)[back.to(self.text_projection.device)]

    def token_ids(self, text: str) -> list[int]:
        """Start token, the text's byte pairs (cut to fit), end token."""
        fitting = self.tokenizer.encode(text)[: self.context_length - 2]
        return [self.tokenizer.sot_token_id, *fitting, self.tokenizer.eot_token_id]

    def text_length(self, text: str) -> tuple[int, int]:
        """Tokens of `text`, and how many fit; both without start and end."""
        return len(self.tokenizer.encode(text)), self.context_length - 2

    @cached_property
    def tokenizer(self) -> "SimpleTokenizer":
        """CLIP's tokenizer; its merges come with the open_clip package. Built when the first text comes."""
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()

    def _project(self, states: Float[Tensor, "text width"]) -> Float[Tensor, "text embedding"]:
        """From the end tokens' states into the common space; in full precision under autocast too."""
        with torch.autocast(states.device.type, enabled=False):
            return self.ln_final(states) @ self.text_projection


def _apply(
    layer: "ResidualAttentionBlock",
    states: Float[Tensor, "node width"],
    tree: TokenTree,
    *,
    only: Int[Tensor, " text"] | None = None,
) -> Float[Tensor, "_ width"]:
    """One layer of OpenCLIP's transformer over a tree; of the nodes `only`, if nobody asks for the others."""
    attention = layer.attn
    mixed = affine(layer.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
    attended = tree.attend(*mixed.chunk(3, dim=-1), heads=attention.num_heads)
    if only is not None:
        states, attended = states[only], attended[only]
    states = states + layer.ls_1(linear(attended, attention.out_proj))
    return states + layer.ls_2(_mlp(layer.mlp, layer.ln_2(states)))


def _mlp(layers: nn.Sequential, states: Float[Tensor, "node width"]) -> Float[Tensor, "node width"]:
    """OpenCLIP's two linear layers and what is between them."""
    widen, activation, narrow = layers
    if isinstance(activation, nn.GELU):
        return linear(linear(states, widen, activation="gelu"), narrow)
    return linear(activation(linear(states, widen)), narrow)
