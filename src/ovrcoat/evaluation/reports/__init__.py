"""Evaluation reports: their contents, result tables, and the comparison of two runs."""
