"""File formats that several packages share: panoptic PNG and JSON, and JSON files in general."""
