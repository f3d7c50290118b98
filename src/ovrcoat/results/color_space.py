"""CIELAB, the CIEDE2000 color difference, and the simulation of color blindness."""

import numpy as np
from jaxtyping import Float

# sRGB to CIE XYZ (IEC 61966-2-1), divided by the white point D65
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
# Linear RGB as seen with complete protanopia, deuteranopia and tritanopia: Machado, Oliveira, Fernandes: A
# Physiologically-based Model for Simulation of Color Vision Deficiency, 2009, severity 1.0
_VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
_EPSILON, _SLOPE = (6 / 29) ** 3, 3 * (6 / 29) ** 2  # of the cube root in CIELAB
_C7 = 25.0**7


def srgb_to_lab(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Return CIELAB (D65) of sRGB values from 0 to 255."""
    return _linear_to_lab(_linear(rgb))


def vision_labs(rgb: Float[np.ndarray, "color 3"]) -> Float[np.ndarray, "vision color 3"]:
    """Return CIELAB as seen with normal vision, protanopia, deuteranopia and tritanopia, in this order."""
    seen = np.einsum("vij,cj->vci", _VISIONS, _linear(rgb))
    return _linear_to_lab(seen.clip(0, 1))


def lab_to_srgb(lab: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Return sRGB from 0 to 255 of CIELAB (D65); values outside sRGB are clipped."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, _SLOPE * (f - 4 / 29))
    linear = (xyz @ _FROM_XYZ.T).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def difference(
    one: Float[np.ndarray, "*#shape 3"], other: Float[np.ndarray, "*#shape 3"]
) -> Float[np.ndarray, "*#shape"]:
    """Return CIEDE2000 between CIELAB colors; arrays are broadcast.

    Source: Sharma, Wu, Dalal: The CIEDE2000 Color-Difference Formula, 2005. The names follow the paper.
    """
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)
    c_mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(c_mean**7 / (c_mean**7 + _C7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1), np.arctan2(b2, a2)
    dh = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    is_gray = c1 * c2 == 0
    dh = np.where(is_gray, 0, dh)
    h = np.where(is_gray, h1 + h2, h1 + dh / 2)
    lightness, c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(h - np.radians(30))
        + 0.24 * np.cos(2 * h)
        + 0.32 * np.cos(3 * h + np.radians(6))
        - 0.20 * np.cos(4 * h - np.radians(63))
    )
    sl = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t
    angle = (np.degrees(h) % 360 - 275) / 25
    rotation = -np.sin(np.radians(60) * np.exp(-(angle**2))) * 2 * np.sqrt(c**7 / (c**7 + _C7))
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, 2 * np.sqrt(c1 * c2) * np.sin(dh / 2) / sh
    squared = dl**2 + dc**2 + dh**2 + rotation * dc * dh
    return np.asarray(np.sqrt(squared.clip(0)))  # an array of shape () for two single colors


def _linear(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    scaled = rgb / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def _linear_to_lab(linear: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    xyz = linear @ _TO_XYZ.T
    f = np.where(xyz > _EPSILON, np.cbrt(xyz), xyz / _SLOPE + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
