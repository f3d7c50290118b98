"""Labelme: one JSON file per image, with one mask per segment."""

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovrcoat._version import __version__
from ovrcoat.formats.json_files import json_bytes
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, LabeledResult, OutputFile
from ovrcoat.results.segment import Segment
from ovrcoat.system.paths import resolve

LABELME_VERSION = "5.5.0"  # of the file format; masks exist since 5.3
NO_CLASS = ("__ignore__", "_background_")  # the first lines of labels.txt, by Labelme's convention


class Labelme(Exporter):
    """`NAME.json` and `labels.txt`.

    The JSON starts with a key that Labelme moves to the end when it saves the file. A file that was edited
    there is therefore never replaced.
    """

    def run_files(self) -> Iterable[OutputFile]:
        """Return the list of labels."""
        names = (*NO_CLASS, *(category.name for category in self.categories))
        return (OutputFile("labels.txt", "".join(f"{name}\n" for name in names).encode(), is_fixed=True),)

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the JSON file."""
        height, width = image.result.size
        document: dict[str, Any] = {
            "ovrcoat": __version__,
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": [_shape(segment, image.result) for segment in image.result.segments],
            "imagePath": self._image_path(image),
            "imageData": _embedded(image),
            "imageHeight": height,
            "imageWidth": width,
        }
        return (OutputFile(f"{image.stem}.json", json_bytes(document)),)

    def _image_path(self, image: ExportedImage) -> str:
        """Return the path of the image relative to the JSON file."""
        if image.source is None:
            return image.file_name
        source, folder = resolve(image.source), resolve(self.folder)
        try:
            return Path(os.path.relpath(source, folder)).as_posix()
        except ValueError:  # another drive on Windows
            return source.as_posix()


def _shape(segment: Segment, result: LabeledResult) -> dict[str, Any]:
    x, y, width, height = segment.bbox
    crop = result.mask(segment.id)[y : y + height, x : x + width]
    return {
        "label": segment.category,
        "points": [[x, y], [x + width - 1, y + height - 1]],  # the first and the last pixel
        "group_id": segment.id,
        "description": f"score {segment.score:.3f}",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(_png(crop.astype(np.uint8))).decode("ascii"),
    }


def _embedded(image: ExportedImage) -> str | None:
    """Return the image itself if there is no file that Labelme could open."""
    if image.source is not None or image.result.image is None:
        return None
    return base64.b64encode(_png(image.result.image)).decode("ascii")


def _png(pixels: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, format="PNG")
        return file.getvalue()
