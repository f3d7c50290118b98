"""Upper limit on the size of images. `system/input_files.py` has the limits of files in bytes."""

MAX_PIXELS = 178_956_970  # Pillow's own default limit (512 MiB of RGB); applied even if Pillow's is disabled
