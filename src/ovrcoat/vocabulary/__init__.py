"""Vocabularies: categories with synonyms, thing or stuff, presets, and background classes."""

from ovrcoat.vocabulary.catalog import list_presets
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.vocabulary import Vocabulary, VocabularyInput

__all__ = ["Category", "Vocabulary", "VocabularyInput", "list_presets"]
