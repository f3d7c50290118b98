"""Cityscapes' instanceIds PNG: 16-bit values that hold the category and the number of the instance."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ovrcoat.errors import ConfigError
from ovrcoat.formats.json_files import json_bytes
from ovrcoat.results.exports.category_maps import encode_gray, map_segments
from ovrcoat.results.exports.exporter import ExportedImage, Exporter, OutputFile
from ovrcoat.vocabulary import Category

INSTANCES = 1000  # things have the value id × 1000 + number, stuff has its id, 0 is unlabeled
MAX_THING_ID = 64  # 65 × 1000 + 999 would not fit into 16 bits
MAX_STUFF_ID = INSTANCES - 1


class Cityscapes(Exporter):
    """`NAME_gtFine_instanceIds.png` and `labels.json` with the names of the ids.

    The preset `cityscapes` has the ids of the dataset.
    """

    @classmethod
    def check_categories(cls, categories: Sequence[Category]) -> None:
        """Check that the ids fit.

        Raises:
            ConfigError: the id of a category is 0 or too large.
        """
        for category in categories:
            limit = MAX_THING_ID if category.is_thing else MAX_STUFF_ID
            if not 1 <= category.id <= limit:
                kind = "thing" if category.is_thing else "stuff"
                raise ConfigError(
                    f"the format cityscapes holds {kind} ids from 1 to {limit}, but the category "
                    f"{category.name!r} has the id {category.id}. Use a shorter vocabulary, or another format"
                )

    def run_files(self) -> Iterable[OutputFile]:
        """Return the names of the ids."""
        labels = [
            {"id": category.id, "name": category.name, "hasInstances": category.is_thing}
            for category in self.categories
        ]
        document = {"format": "ovrcoat labels 1", "labels": labels}
        return (OutputFile("labels.json", json_bytes(document), is_fixed=True),)

    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the PNG. The instances of a category are numbered from 0, as in the dataset."""
        result = image.result
        count: Counter[int] = Counter()
        values = []
        for segment in result.segments:
            values.append(segment.category_id)
            if segment.is_thing:
                values[-1] = segment.category_id * INSTANCES + count[segment.category_id]
                count[segment.category_id] += 1
        instance_ids = map_segments(result, values, segments=result.segments)
        return (OutputFile(f"{image.stem}_gtFine_instanceIds.png", encode_gray(instance_ids, bits=16)),)
