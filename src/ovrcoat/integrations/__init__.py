"""Functions that other programs load: one file per program."""
