"""Mask predictions to results: no weights, no state, test time only."""
