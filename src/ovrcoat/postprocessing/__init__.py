"""Post-processing: mask predictions in, results out. Pure functions without weights, one image at a time."""
