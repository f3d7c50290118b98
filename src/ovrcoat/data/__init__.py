"""Files to batches of images; knows no model."""
