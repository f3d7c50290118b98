"""Test sizes of images: published per dataset, that of the model, or custom.

The published protocol differs between datasets only in the test resolution. Thresholds and ensemble weights
are stored with the model. Background classes are "none"; they are meant for short user vocabularies.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ovrcoat.errors import ConfigError

ProtocolChoice = Literal["auto", "published", "model"]
_FOLDER = "configs/coco/panoptic-segmentation/fcclip"


@dataclass(frozen=True, slots=True)
class Protocol:
    """A test resolution.

    Attributes:
        name: "published", "model" or "custom".
        short_side: Length of the short side after resizing, in pixels.
        max_long_side: Maximum length of the long side, in pixels; it takes precedence over `short_side`.
        source: Where the numbers come from.
    """

    name: str
    short_side: int
    max_long_side: int
    source: str


def _published(short_side: int, max_long_side: int, *files: str) -> Protocol:
    return Protocol("published", short_side, max_long_side, f"{_FOLDER}: {', '.join(files)}")


# Released configuration files of bytedance/fc-clip (fcclip_*) and nickormushev/OVRCOAT (ovrcoat_*).
PUBLISHED = {
    "coco": _published(
        800, 1333, "fcclip_convnext_large_eval_coco.yaml", "ovrcoat_convnext_large_eval_coco.yaml"
    ),
    "ade20k": _published(
        800, 1333, "fcclip_convnext_large_eval_ade20k.yaml", "ovrcoat_convnext_large_eval_ade20k.yaml"
    ),
    "cityscapes": _published(
        1024,
        2560,
        "fcclip_convnext_large_eval_cityscapes.yaml",
        "ovrcoat_convnext_large_eval_cityscapes.yaml",
    ),
    # OVRCOAT released no configuration file for Mapillary Vistas
    "mapillary": _published(1024, 2560, "fcclip_convnext_large_eval_mapillary_vistas.yaml"),
}


def choose_protocol(
    choice: ProtocolChoice,
    *,
    dataset: str,
    fits_published_sizes: bool,
    model_size: tuple[int, int],
    short_side: int | None = None,
    max_long_side: int | None = None,
) -> Protocol:
    """Choose the test resolution.

    Args:
        choice: "published" uses the published size of the dataset, "model" that of the model. "auto" uses the
            published size if there is one and the encoder suits it, otherwise that of the model.
        dataset: Name of the dataset, as in `open_dataset`.
        fits_published_sizes: Attribute of the model's encoder; see `Encoder`.
        model_size: Short side and maximum long side in the model's configuration, in pixels.
        short_side: Custom short side in pixels; None keeps that of the protocol.
        max_long_side: Custom maximum long side in pixels; None keeps that of the protocol.

    Raises:
        ConfigError: `choice` is "published", but the dataset has no published size.
    """
    if choice == "published" and dataset not in PUBLISHED:
        raise ConfigError(
            f"there is no published test resolution for {dataset!r}, only for {', '.join(PUBLISHED)}; "
            "choose the protocol 'model', or specify the size in pixels"
        )
    if choice == "published" or (choice == "auto" and dataset in PUBLISHED and fits_published_sizes):
        protocol = PUBLISHED[dataset]
    else:
        protocol = Protocol("model", *model_size, source="the configuration of the model")
    if short_side is None and max_long_side is None:
        return protocol
    return replace(
        protocol,
        name="custom",
        short_side=short_side or protocol.short_side,
        max_long_side=max_long_side or protocol.max_long_side,
        source=f"specified by the user; the rest: {protocol.source}",
    )
