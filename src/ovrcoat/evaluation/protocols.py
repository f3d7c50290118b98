"""At which size images are shown to the network: published per data set, the model's own, or chosen.

Only sizes differ between the data sets of the published protocol. Thresholds and the weights of the ensemble
come with the model, and `background` is "none": background classes are for short lists of users.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ovrcoat.errors import ConfigError

ProtocolChoice = Literal["auto", "published", "model"]
SMALL_FAMILIES = ("nano",)  # trained on small images: the published sizes were never meant for them
_FOLDER = "configs/coco/panoptic-segmentation/fcclip"


@dataclass(frozen=True, slots=True)
class Protocol:
    """A test size in pixels (the short side becomes `short_side`, the long one at most `max_long_side`).

    `name` is "published", "model" or "chosen"; `source` says where the numbers come from.
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
    # OVRCOAT released no file for Mapillary
    "mapillary": _published(1024, 2560, "fcclip_convnext_large_eval_mapillary_vistas.yaml"),
}


def choose_protocol(
    choice: ProtocolChoice,
    *,
    dataset: str,
    family: str,
    own_size: tuple[int, int],
    short_side: int | None = None,
    max_long_side: int | None = None,
) -> Protocol:
    """Decide on the test size.

    "auto" is the published size if `dataset` (a name of `open_dataset`) has one and the encoder `family` is
    one of the paper's, else the model's own, `own_size` (short side, longest side). What is given in pixels
    replaces its part.

    Raises:
        ConfigError: "published" is asked for a data set that has no published size.
    """
    if choice == "published" and dataset not in PUBLISHED:
        raise ConfigError(
            f"there is no published test size for {dataset!r}, only for {', '.join(PUBLISHED)}; "
            "choose the protocol 'model', or give the size in pixels"
        )
    if choice == "published" or (choice == "auto" and dataset in PUBLISHED and family not in SMALL_FAMILIES):
        protocol = PUBLISHED[dataset]
    else:
        protocol = Protocol("model", *own_size, source="the model's own configuration")
    if short_side is None and max_long_side is None:
        return protocol
    return replace(
        protocol,
        name="chosen",
        short_side=short_side or protocol.short_side,
        max_long_side=max_long_side or protocol.max_long_side,
        source=f"given by hand; the rest: {protocol.source}",
    )
