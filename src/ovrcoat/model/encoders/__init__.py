"""Image-text encoders behind one contract (`encoder.py`)."""
