"""Batches of texts of similar length, for text towers that take padded token ids."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MAX_BATCH = 256  # texts; bounds memory for any number of texts


def embed_in_batches(
    texts: Sequence[str],
    *,
    token_ids: Callable[[str], list[int]],
    tower: Callable[[Int[Tensor, "text token"], Int[Tensor, " text"]], Float[Tensor, "text embedding"]],
    empty: Float[Tensor, "0 embedding"],
) -> Float[Tensor, "text embedding"]:
    """Embed each distinct text once, in batches of similar length.

    Args:
        texts: texts to embed.
        token_ids: returns the token ids of a text.
        tower: embeds token ids, padded with zeros, given the number of tokens of each text.
        empty: the result for no texts; determines the device of the tower's inputs.
    """
    ids = {text: token_ids(text) for text in dict.fromkeys(texts)}
    by_length = sorted(ids, key=lambda text: len(ids[text]))
    embedded: dict[str, Tensor] = {}
    for start in range(0, len(by_length), MAX_BATCH):
        batch = by_length[start : start + MAX_BATCH]
        tokens = pad_sequence([torch.tensor(ids[text]) for text in batch], batch_first=True)
        lengths = torch.tensor([len(ids[text]) for text in batch])
        embedded.update(zip(batch, tower(tokens.to(empty.device), lengths.to(empty.device)), strict=True))
    return torch.stack([embedded[text] for text in texts]) if texts else empty
