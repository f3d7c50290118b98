"""Training: datasets and a YAML configuration in, a checkpoint out (`run.train`)."""
