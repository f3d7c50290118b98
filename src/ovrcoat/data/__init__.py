"""Images and labeled datasets: from files to batches. Independent of any model."""
