"""Checks of label and prediction files (`ovrcoat check-data`)."""
