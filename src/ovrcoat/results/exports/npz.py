"""NPZ: all masks, scores and names as NumPy arrays, without pickled objects."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from ovrcoat._version import __version__
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, LabeledResult, OutputFile

FIELDS = (
    "category_id",
    "score",
    "area",
    "bbox",
    "is_thing",
    "objectness",
    "objectness_before",
    "clip_confidence",
)


class Npz(Exporter):
    """`NAME.npz`.

    `segment_map` holds one id per pixel. Instances may overlap, so their results have `masks` instead, which
    is 1 for the pixels of each segment.
    """

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the NPZ file."""
        with io.BytesIO() as file:
            np.savez_compressed(file, **_arrays(image.complete))
            return (OutputFile(f"{image.stem}.npz", file.getvalue()),)


def _arrays(result: LabeledResult) -> dict[str, Any]:
    segments = result.segments
    # the first array is the signature of the file
    arrays = {"ovrcoat": np.array(__version__), "segment_id": np.array([segment.id for segment in segments])}
    if result.task == "instance":
        masks = [result.mask(segment.id) for segment in segments]
        arrays["masks"] = np.stack(masks) if masks else np.zeros((0, *result.size), dtype=bool)
    else:
        arrays["segment_map"] = result.segment_map()
    arrays["category"] = np.array([segment.category for segment in segments], dtype=np.str_)
    for name in FIELDS:
        arrays[name] = np.array([getattr(segment, name) for segment in segments])
    return arrays
