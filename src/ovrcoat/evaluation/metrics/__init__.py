"""Metrics: arrays in, numbers out; no files."""
