"""The network: everything that has weights, from images and class names to mask predictions."""
