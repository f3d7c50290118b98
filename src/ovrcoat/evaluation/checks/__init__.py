"""Checks of labels and predictions in files (`ovrcoat check-data`)."""
