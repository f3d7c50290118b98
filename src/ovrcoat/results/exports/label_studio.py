"""Label Studio: one task per image, with the segments as predictions of the brush tool."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ovrcoat._version import __version__
from ovrcoat.formats.brush_rle import encode_brush
from ovrcoat.formats.json_files import json_bytes
from ovrcoat.results.colors import category_colors
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, LabeledResult, OutputFile
from ovrcoat.results.segment import Segment

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's URL of a file below LOCAL_FILES_DOCUMENT_ROOT
CONTROL, OBJECT = "label", "image"  # names in the labeling configuration


class LabelStudio(Exporter):
    """`NAME.json` with one task, and `labeling-config.xml` for the project's settings."""

    def run_files(self) -> Iterable[OutputFile]:
        """Return the labeling configuration."""
        colors = category_colors(self.categories)
        labels = "".join(
            f"    <Label value={quoteattr(category.name)} "
            f'background="#{bytes(colors[category.id]).hex()}"/>\n'
            for category in self.categories
        )
        config = (
            "<!-- written by ovrcoat -->\n"
            f'<View>\n  <Image name="{OBJECT}" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="{CONTROL}" toName="{OBJECT}">\n{labels}  </BrushLabels>\n</View>\n'
        )
        return (OutputFile("labeling-config.xml", config.encode()),)

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the task."""
        result = image.result
        scores = [segment.score for segment in result.segments]
        task = {
            "meta": {"ovrcoat": __version__, "task": result.task, "file_name": image.file_name},
            "data": {"image": _image_url(image)},
            "predictions": [
                {
                    "model_version": f"ovrcoat {__version__}",
                    "score": sum(scores) / max(len(scores), 1),
                    "result": [_region(segment, result) for segment in result.segments],
                }
            ],
        }
        return (OutputFile(f"{image.stem}.json", json_bytes([task], indent=None)),)


def _image_url(image: ExportedImage) -> str:
    """Return the URL of the image: its path as given, for a server whose root is the current folder."""
    path = image.file_name if image.source is None else image.source.as_posix().lstrip("/")
    return LOCAL_FILES + quote(path, errors="surrogateescape")


def _region(segment: Segment, result: LabeledResult) -> dict[str, Any]:
    height, width = result.size
    return {
        "id": f"segment-{segment.id}",
        "type": "brushlabels",
        "from_name": CONTROL,
        "to_name": OBJECT,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": segment.score,
        "value": {
            "format": "rle",
            "rle": encode_brush(result.mask(segment.id)),
            "brushlabels": [segment.category],
        },
        "meta": {"segment_id": segment.id, "category_id": segment.category_id, "isthing": segment.is_thing},
    }
