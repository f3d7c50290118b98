"""Sentences in batches of like length, for text towers that take rows of token ids."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

TEXTS_AT_ONCE = 256  # keeps memory flat however many texts come


def embed_in_batches(
    texts: Sequence[str],
    *,
    token_ids: Callable[[str], list[int]],
    tower: Callable[[Int[Tensor, "text token"], Int[Tensor, " text"]], Float[Tensor, "text embedding"]],
    empty: Float[Tensor, "0 embedding"],
) -> Float[Tensor, "text embedding"]:
    """Embed each distinct text once, texts of like length together.

    `tower` gets token ids padded with zeros and the number of tokens of each text, on the device of `empty`,
    which is the answer to no text at all.
    """
    ids = {text: token_ids(text) for text in dict.fromkeys(texts)}
    by_length = sorted(ids, key=lambda text: len(ids[text]))
    embedded: dict[str, Tensor] = {}
    for start in range(0, len(by_length), TEXTS_AT_ONCE):
        chunk = by_length[start : start + TEXTS_AT_ONCE]
        tokens = pad_sequence([torch.tensor(ids[text]) for text in chunk], batch_first=True)
        lengths = torch.tensor([len(ids[text]) for text in chunk])
        embedded.update(zip(chunk, tower(tokens.to(empty.device), lengths.to(empty.device)), strict=True))
    return torch.stack([embedded[text] for text in texts]) if texts else empty
