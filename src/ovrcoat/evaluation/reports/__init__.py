"""Evaluation reports: contents, tables, comparison of two runs."""
