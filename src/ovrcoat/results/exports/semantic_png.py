"""Semantic PNG: one category per pixel, as 8 or 16-bit gray values."""

from collections.abc import Iterable

from ovrcoat.formats.json_files import json_bytes
from ovrcoat.results.exports.category_maps import category_positions, encode_gray, map_segments
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, OutputFile

VOID = 0
MAX_8_BIT_CATEGORIES = 254  # 255 is left free: many tools ignore it


class SemanticPng(Exporter):
    """`labels/NAME.png` with 0 for void and 1..n for the categories, and `names.json`."""

    def run_files(self) -> Iterable[OutputFile]:
        """Return the names of the values, in the form of a vocabulary file."""
        names = {
            "format": "ovrcoat values 1",
            "ignore": [VOID],
            "categories": [
                {
                    "id": value,
                    "name": category.name,
                    "synonyms": list(category.names[1:]),
                    "isthing": category.is_thing,
                }
                for value, category in enumerate(self.categories, start=1)
            ],
        }
        return (OutputFile("names.json", json_bytes(names), is_fixed=True),)

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the PNG."""
        result = image.result
        positions = category_positions(self.categories)
        values = [positions[segment.category_id] + 1 for segment in result.segments]
        category_map = map_segments(result, values, segments=result.segments)
        is_short = len(self.categories) <= MAX_8_BIT_CATEGORIES
        return (
            OutputFile(f"labels/{image.stem}.png", encode_gray(category_map, bits=8 if is_short else 16)),
        )
