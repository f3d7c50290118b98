"""COCO's formats: annotations, categories and RLE masks."""

from collections.abc import Container, Sequence
from itertools import chain, count
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from ovrcoat._version import __version__
from ovrcoat.results.background import BackgroundShare
from ovrcoat.results.colors import category_colors
from ovrcoat.results.mask import PackedMask
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.paths import shorten_name
from ovrcoat.vocabulary import Category

DESCRIPTION = "ovrcoat segments"  # the first value of every document that this package writes
UNNAMED = "image"
_RESERVED_BYTES = len(".overlay.jpg") + len("-999999")


@runtime_checkable
class PanopticLike(Protocol):
    """The part of a panoptic or semantic result that its document needs."""

    @property
    def name(self) -> str | None: ...  # noqa: D102
    @property
    def size(self) -> Size: ...  # noqa: D102
    def to_coco(self, *, image_id: int = 1) -> Any: ...  # noqa: D102


def file_stem(name: str | None, *, taken: Container[str] = ()) -> str:
    """Return the stem of an image's output files: its name without folder and suffix, numbered if `taken`.

    `taken` holds stems in the form of `str.casefold`: on many file systems A.png and a.png are one file.
    """
    stem = output_stem(PurePath(name or UNNAMED).stem or UNNAMED)
    numbered = (f"{stem}-{number}" for number in count(2))
    return next(candidate for candidate in chain([stem], numbered) if candidate.casefold() not in taken)


def output_stem(stem: str) -> str:
    """Return a stem to which the endings of output files and a number can be added; shortened if long."""
    return shorten_name(stem, reserved=_RESERVED_BYTES)


def panoptic_annotation(
    segments: Sequence[Segment],
    *,
    name: str | None,
    image_id: int,
    background: Sequence[BackgroundShare] = (),
) -> dict[str, Any]:
    """Return an entry of `annotations` in COCO's panoptic format, with extra keys per segment."""
    return {
        "image_id": image_id,
        "file_name": f"{file_stem(name)}.png",
        "segments_info": [segment.to_coco() for segment in segments],
        "background": [one.to_dict() for one in background],
    }


def instance_annotation(segment: Segment, mask: PackedMask, *, image_id: int) -> dict[str, Any]:
    """Return an entry of COCO's results format, with extra keys.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    entry = segment.to_coco() | {"image_id": image_id, "segmentation": encode_mask(mask.unpack())}
    # with a bbox, pycocotools would take the results for boxes and compute their areas from them
    del entry["bbox"]
    return entry


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Return a mask as COCO's compressed RLE: {"size": [height, width], "counts": text}.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    codec = import_optional("pycocotools.mask", extra="coco")
    runs = codec.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}


def image_entry(name: str | None, *, image_id: int, size: Size) -> dict[str, Any]:
    """Return an entry of `images`."""
    height, width = size
    return {"id": image_id, "file_name": PurePath(name or UNNAMED).name, "height": height, "width": width}


def document_head(categories: Sequence[Category]) -> dict[str, Any]:
    """Return the first entries of a run's document: what wrote it, and the vocabulary."""
    colors = category_colors(categories)
    return {
        "info": {"description": DESCRIPTION, "version": __version__},
        "categories": [
            {
                "id": category.id,
                "name": category.name,
                "supercategory": category.name,
                "synonyms": list(category.names[1:]),
                "isthing": int(category.is_thing),
                "thing_from": category.thing_from,
                "color": list(colors[category.id]),
            }
            for category in categories
        ],
    }


def panoptic_document(results: Sequence[PanopticLike], categories: Sequence[Category]) -> dict[str, Any]:
    """Return the document of panoptic or semantic results: categories, annotations and images.

    `RunWriter` writes the same document without keeping all results in memory.
    """
    document = document_head(categories) | {"annotations": [], "images": []}
    taken: set[str] = set()
    for image_id, result in enumerate(results, start=1):
        stem = file_stem(result.name, taken=taken)
        taken.add(stem.casefold())
        document["annotations"].append(result.to_coco(image_id=image_id) | {"file_name": f"{stem}.png"})
        document["images"].append(image_entry(result.name, image_id=image_id, size=result.size))
    return document
