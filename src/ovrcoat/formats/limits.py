"""Upper limits on input files, so that a hostile or damaged file cannot exhaust memory."""

MAX_PIXELS = 178_956_970  # Pillow's own default limit (512 MiB of RGB); applied even if Pillow's is disabled
MAX_IMAGE_BYTES = 200 << 20  # a 20-megapixel PNG takes about 40 MB
MAX_JSON_BYTES = 1 << 30  # the largest JSON file of COCO takes about 450 MB
