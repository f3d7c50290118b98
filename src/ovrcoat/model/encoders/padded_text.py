"""OpenCLIP's text tower for texts that are padded to a fixed length, and CLIP's tokenizer for it.

Without a causal mask, every token attends to every other one, the padding included. So texts share no work
(`token_tree.py`), and each of them costs as much as the longest.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ovrcoat.model.encoders.text_batches import embed_in_batches

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer


class Tokenizer(ABC):
    """Splits a text into tokens.

    Attributes:
        padding: token id that fills the places after a text.
    """

    padding: int

    @property
    @abstractmethod
    def start(self) -> tuple[int, ...]:
        """Token ids before each text."""

    @property
    @abstractmethod
    def end(self) -> tuple[int, ...]:
        """Token ids after each text."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end."""


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair tokenizer, created for the first text. Its merges are part of open_clip."""

    padding = 0

    @property
    def start(self) -> tuple[int, ...]:
        """The start token."""
        return (self._pairs.sot_token_id,)

    @property
    def end(self) -> tuple[int, ...]:
        """The end token, which has the largest id."""
        return (self._pairs.eot_token_id,)

    def encode(self, text: str) -> list[int]:
        """Return the byte pairs of a text."""
        return self._pairs.encode(text)

    @cached_property
    def _pairs(self) -> "SimpleTokenizer":
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()


class PaddedTextTower(nn.Module):
    """A text tower that takes token ids of a fixed length.

    Args:
        model: OpenCLIP's `TextTransformer`.
        tokenizer: of the model.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer

    def forward(
        self, tokens: Int[Tensor, "text token"], lengths: Int[Tensor, " text"]
    ) -> Float[Tensor, "text embedding"]:
        """Encode padded token ids, not normalized. Their number (`lengths`) is the same for all texts."""
        return self.model(tokens)

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed texts, not normalized. Each distinct text is computed once."""
        weight = self.model.positional_embedding
        return embed_in_batches(
            texts,
            token_ids=self.token_ids,
            tower=self,
            empty=weight.new_zeros((0, self.model.output_dim)),
        )

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text with start and end, truncated and padded to the fixed length."""
        tokenizer = self.tokenizer
        truncated = tokenizer.encode(text)[: self._limit]
        ids = [*tokenizer.start, *truncated, *tokenizer.end]
        return ids + [tokenizer.padding] * (self.model.context_length - len(ids))

    def text_length(self, text: str) -> tuple[int, int]:
        """Return the number of tokens of `text` and the limit, both without start and end."""
        return len(self.tokenizer.encode(text)), self._limit

    @property
    def _limit(self) -> int:
        return self.model.context_length - len(self.tokenizer.start) - len(self.tokenizer.end)
