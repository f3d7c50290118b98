"""Evaluation of models: panoptic quality, mean IoU and mask AP as published, and checks of files."""
