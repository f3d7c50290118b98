"""Words: categories with synonyms, things and stuff, presets, background classes."""

from ovrcoat.vocabulary.catalog import list_presets
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.vocabulary import Vocabulary

__all__ = ["Category", "Vocabulary", "list_presets"]
