"""Scoring of prediction files (`ovrcoat score`)."""
