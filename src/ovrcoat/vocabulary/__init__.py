"""Words: categories with synonyms, things and stuff, presets, hidden negatives."""
