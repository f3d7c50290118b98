"""CLIP's text tower, sentences to embeddings: OpenCLIP's transformer and byte-pair tokenizer on short rows.

Attention is causal, so what follows the end-of-text token cannot change it: rows are as long as their longest
text and not always 77 tokens, which costs a fifth of the time for the usual prompts.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ovrcoat.model.encoders.text_batches import embed_in_batches

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

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
        """Encode token ids (start, text, end, zeros); not normalised."""
        count = tokens.shape[1]
        states = self.token_embedding(tokens) + self.positional_embedding[:count]
        future = states.new_full((count, count), -torch.inf).triu(1)
        states = self.transformer(states, attn_mask=future)
        ends = tokens.argmax(dim=-1)  # the end-of-text token has the largest id of all
        return (
            self.ln_final(states[torch.arange(len(states), device=states.device), ends])
            @ self.text_projection
        )

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences, not normalised; each distinct one once, texts of like length together."""
        return embed_in_batches(
            texts,
            token_ids=self.token_ids,
            tower=lambda tokens, _: self(tokens),  # the end-of-text token tells where a text ends
            empty=self.text_projection.new_zeros((0, self.text_projection.shape[1])),
        )

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
