"""What a user gets: segments, maps, files."""
