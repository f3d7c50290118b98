"""Feature maps at four strides from the only map of a plain vision transformer."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PATCH = 16  # side of a patch in pixels: the stride of the only map

FeatureMap = Float[Tensor, "batch channel _ _"]


def feature_pyramid(stride16: FeatureMap) -> tuple[FeatureMap, FeatureMap, FeatureMap, FeatureMap]:
    """Resize the map to strides 4, 8, 16 and 32, after ViTDet's simple feature pyramid.

    ViTDet learns deconvolutions for it. Resizing has no weights, so that the encoder remains the published
    one; the pixel decoder begins with learned layers of its own.

    Args:
        stride16: the map; its sides are even.
    """
    stride4, stride8 = (
        F.interpolate(stride16, scale_factor=factor, mode="bilinear", align_corners=False)
        for factor in (4, 2)
    )
    return stride4, stride8, stride16, F.avg_pool2d(stride16, 2)
