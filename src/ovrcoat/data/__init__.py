"""Images and labelled datasets: from files to batches. Independent of any model."""
