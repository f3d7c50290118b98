"""Label formats of other tools: one file per format, and `table` with all of them."""
