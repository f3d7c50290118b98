"""CLIP towers behind one contract."""
