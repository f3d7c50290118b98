"""YOLO segmentation labels: one text file per image with normalized polygons, and `data.yaml`."""

import io
from collections.abc import Iterable
from pathlib import PurePath

import yaml
from PIL import Image

from ovrcoat.errors import OutputError
from ovrcoat.formats.outlines import connect_rings, trace_rings
from ovrcoat.results.exports.category_maps import category_positions
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, OutputFile
from ovrcoat.system.input_files import IMAGE, read_input

DIGITS = 6  # of a coordinate: exact to a hundredth of a pixel for images of up to 10,000 pixels


class Yolo(Exporter):
    """`labels/NAME.txt`, `images/NAME.*` (a copy) and `data.yaml`.

    A line is one object, and a polygon can have neither parts nor holes. As Ultralytics' own converter does
    for COCO, parts are connected by bridges without width; so are holes. Filling with the even-odd rule, as
    Ultralytics does, gives the mask again, except for the pixels of the bridges.
    """

    def run_files(self) -> Iterable[OutputFile]:
        """Return `data.yaml`."""
        data = {
            "train": "images",
            "val": "images",
            "names": {position: category.name for position, category in enumerate(self.categories)},
        }
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        return (OutputFile("data.yaml", text.encode(), is_fixed=True),)

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the labels and the image.

        Raises:
            OutputError: the image cannot be read again.
        """
        result = image.result
        height, width = result.size
        positions = category_positions(self.categories)
        lines = []
        for segment in result.segments:
            polygon = connect_rings(trace_rings(result.mask(segment.id))) / (width, height)
            values = " ".join(f"{value:.{DIGITS}g}" for value in polygon.reshape(-1))
            lines.append(f"{positions[segment.category_id]} {values}\n")
        yield OutputFile(f"labels/{image.stem}.txt", "".join(lines).encode(), is_fixed=True)
        if (copy := _copy(image)) is not None:
            yield copy


def _copy(image: ExportedImage) -> OutputFile | None:
    """Return a copy of the image file, or of the pixels as PNG; Ultralytics finds labels by image paths."""
    if image.source is not None:
        try:
            content = read_input(image.source, IMAGE)
        except OSError as error:
            raise OutputError(
                f"cannot read {image.source} again: {error.strerror or error}. The format yolo copies it."
            ) from error
        return OutputFile(f"images/{image.stem}{PurePath(image.source).suffix}", content, is_fixed=True)
    if image.result.image is None:
        return None
    with io.BytesIO() as file:
        Image.fromarray(image.result.image).save(file, format="PNG")
        return OutputFile(f"images/{image.stem}.png", file.getvalue(), is_fixed=True)
