"""File formats that several packages share: COCO panoptic PNG and JSON."""
