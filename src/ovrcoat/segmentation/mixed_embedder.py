"""Text embeddings for two networks: one classifies its own masks, the encoder of the other names them."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from ovrcoat.issues import Issue
from ovrcoat.model.closed_vocabulary import indicator_embeddings
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.vocabulary import Vocabulary


@runtime_checkable
class Embedder(Protocol):
    """Embeds the class names of a vocabulary; may be used from several threads."""

    def embed(self, vocabulary: Vocabulary) -> CategoryEmbeddings:
        """Check and embed a vocabulary."""

    def find_hints(self, vocabulary: Vocabulary) -> tuple[Issue, ...]:
        """Return warnings about names that are likely to work badly."""


class MixedEmbedder:
    """In-vocabulary embeddings for the network that proposes masks, the others for the one that names them.

    Args:
        masks: embedder of the network that proposes masks, or the classes of a closed-vocabulary network.
        names: embedder of the network that names them.
    """

    def __init__(self, masks: Embedder | Vocabulary, names: Embedder) -> None:
        self._masks = masks
        self._names = names

    def embed(self, vocabulary: Vocabulary) -> CategoryEmbeddings:
        """Check and embed a vocabulary.

        Raises:
            VocabularyError: the vocabulary cannot be used.
        """
        embeddings = self._names.embed(vocabulary)
        return replace(embeddings, in_vocab=self._in_vocab(vocabulary, like=embeddings.out_vocab))

    def find_hints(self, vocabulary: Vocabulary) -> tuple[Issue, ...]:
        """Return warnings about names that the text encoder cannot represent, and missing alternatives."""
        return self._names.find_hints(vocabulary)

    def _in_vocab(self, vocabulary: Vocabulary, *, like: Tensor) -> Tensor:
        if not isinstance(self._masks, Vocabulary):
            return self._masks.embed(vocabulary).in_vocab
        names = [name for category in vocabulary.all_categories for name in category.names]
        return indicator_embeddings(names, [c.names for c in self._masks.categories], like=like)
