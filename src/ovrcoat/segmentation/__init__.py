"""The inference path: an image and a vocabulary in, a result out."""
