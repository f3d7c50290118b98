"""Pixels and words to mask predictions: everything with weights."""
