"""Is it any good? Panoptic quality, mean IoU and mask AP as published tables have them; checks of files."""
