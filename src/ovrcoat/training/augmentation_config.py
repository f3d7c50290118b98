"""Settings of the augmentations of a training crop: copy-paste and photometric changes."""

from typing import Annotated

from pydantic import Field, model_validator

from ovrcoat.config import Count, Fraction, Settings

Positive = Annotated[float, Field(gt=0)]


class CopyPasteConfig(Settings):
    """Copy-paste augmentation (Ghiasi et al., CVPR 2021): things of other images are pasted into a crop."""

    probability: Fraction = 0.5  # of pasting into a crop
    instances: Count = 4  # largest number of things per crop; each number from 1 on is equally likely
    # Resize factors, log-uniform; at 1 the short side of the thing's image has the size of the crop.
    scales: tuple[Positive, Positive] = (0.3, 1.5)
    largest: Fraction = 0.4  # a pasted thing covers at most this share of the crop
    blend: Annotated[float, Field(ge=0)] = 1.0  # pixels; standard deviation of the soft edge, 0: hard edge
    visible: Fraction = 0.1  # a mask of which less is left becomes unknown

    @model_validator(mode="after")
    def _check_order(self) -> "CopyPasteConfig":
        if self.scales[0] > self.scales[1]:
            raise ValueError(f"scales are {self.scales}, expected the smaller one first")
        return self


class PhotometricConfig(Settings):
    """Probabilities of changes that keep every label. Each is drawn independently."""

    gray: Fraction = 0.1  # without color
    dark: Fraction = 0.1  # gamma and exposure as at night, with noise
    blur: Fraction = 0.1  # Gaussian
    jpeg: Fraction = 0.1  # strong compression
