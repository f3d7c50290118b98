"""Files to batches of photos; knows no model."""
