"""Open-vocabulary panoptic segmentation: a photo and any words in, named segments out."""
