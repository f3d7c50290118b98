"""Encoders by their OpenCLIP name, as data: a further encoder is a module of this package and one entry.

A checkpoint stores the name of such an encoder, so a name may come from a stranger. It is only looked up in
this table; it never reaches OpenCLIP or timm, which may download weights for a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenClipModel:
    """An entry of the table.

    Attributes:
        module: the module of this package whose function `build` returns the encoder with random weights.
            It is imported when the encoder is built.
        embedding_dim: dimension of the common space, an argument of `build`.
        settings: further keyword arguments of `build`.
        tag: OpenCLIP's tag of the weights to download.
        license: of these weights.
    """

    module: str
    embedding_dim: int
    settings: Mapping[str, object]
    tag: str
    license: str


_MOBILECLIP = {
    name: OpenClipModel(
        module="mobileclip",
        embedding_dim=512,
        settings={"depths": depths, "widths": widths},
        tag=tag,
        license="apple-amlr (research only)",
    )
    for name, depths, widths, tag in (
        ("MobileCLIP-S1", (4, 12, 20, 4), (64, 128, 256, 512), "datacompdr"),
        ("MobileCLIP-S2", (4, 12, 24, 4), (80, 160, 320, 640), "datacompdr"),
        ("MobileCLIP2-S0", (2, 6, 10, 2), (64, 128, 256, 512), "dfndr2b"),
        ("MobileCLIP2-S2", (4, 12, 24, 4), (80, 160, 320, 640), "dfndr2b"),
    )
}

_SIGLIP = {
    name: OpenClipModel(
        module="siglip",
        embedding_dim=width,
        settings={"training_side": side, "layers": layers},
        tag="webli",
        license="Apache-2.0",
    )
    for name, side, layers, width in (
        ("ViT-B-16-SigLIP", 224, 12, 768),
        ("ViT-B-16-SigLIP-256", 256, 12, 768),
        ("ViT-B-16-SigLIP-384", 384, 12, 768),
        ("ViT-B-16-SigLIP-512", 512, 12, 768),
        ("ViT-L-16-SigLIP-256", 256, 24, 1024),
        ("ViT-L-16-SigLIP-384", 384, 24, 1024),
    )
}
_CLIP_VIT = {
    name: OpenClipModel(
        module="clip_vit",
        embedding_dim=512,
        settings={"width": 768, "layers": 12, "text_width": 512, "activation": activation},
        tag=tag,
        license="MIT",
    )
    for name, activation, tag in (
        ("ViT-B-16", "gelu", "laion2b_s34b_b88k"),
        ("ViT-B-16-quickgelu", "quick_gelu", "openai"),
    )
}
OPEN_CLIP_MODELS: dict[str, OpenClipModel] = {**_MOBILECLIP, **_SIGLIP, **_CLIP_VIT}
