"""NPZ: all masks, scores and names as NumPy arrays, without pickled objects."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from ovrcoat._version import __version__
from ovrcoat.results.exports.category_maps import stack_masks
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, LabeledResult, OutputFile

FIELDS = {
    "category_id": np.int64,
    "score": np.float64,
    "area": np.int64,
    "is_thing": np.bool_,
    "objectness": np.float64,
    "objectness_before": np.float64,
    "clip_confidence": np.float64,
}


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
    arrays: dict[str, Any] = {
        "ovrcoat": np.array(__version__),
        "segment_id": np.array([segment.id for segment in segments], dtype=np.int64),
        "category": np.array([segment.category for segment in segments], dtype=np.str_),
        "bbox": np.array([segment.bbox for segment in segments], dtype=np.int64).reshape(-1, 4),
    }
    for name, dtype in FIELDS.items():
        arrays[name] = np.array([getattr(segment, name) for segment in segments], dtype=dtype)
    if result.task == "instance":
        arrays["masks"] = stack_masks(result)
    else:
        arrays["segment_map"] = result.segment_map()
    return arrays
