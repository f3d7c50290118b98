"""Many images to Parquet files (`ovrcoat batch`): sources, rows, and the engines that do the work."""
