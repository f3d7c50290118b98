"""Segment ten images that nano was not trained on, and put the overlays on one sheet, for docs/nano.md.

Usage: python tools/nano/ten_images.py docs/images/nano-ten.jpg

Six are the images of the demo. The others are images and crops from scikit-image and scikit-learn. Nothing is
downloaded.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the tools of the folder above

from contact_sheet import comment
from demo import EXAMPLES, package_folder
from ovrcoat import Segmenter

CELL = (300, 240)  # pixels
COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of an image, or all of it.

    Attributes:
        package: installed package that contains the image.
        file: path of the image inside the package.
        vocabulary: vocabulary to segment the image with.
        box: left, top, right, bottom as shares of the image.
    """

    package: str
    file: str
    vocabulary: str
    box: tuple[float, float, float, float] = (0, 0, 1, 1)


IMAGES = (
    *(Crop(example.package, example.file, example.vocabulary) for example in EXAMPLES),
    Crop("skimage", "data/astronaut.png", "person; flag"),
    Crop("skimage", "data/motorcycle_left.png", "motorcycle; wall#stuff; floor#stuff; bicycle"),
    Crop("sklearn", "datasets/images/china.jpg", "temple, building; tree; sky", (0.3, 0, 1, 0.6)),
    Crop("skimage", "data/camera.png", "person; camera; sky", (0.2, 0, 0.8, 0.5)),
)


def main(target: Path) -> None:
    """Segment the images and write the sheet."""
    segmenter = Segmenter.load("nano")
    rows = -(-len(IMAGES) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL[0] + 8) - 8, rows * (CELL[1] + 8) - 8), "white")
    with TemporaryDirectory() as folder:
        for index, crop in enumerate(IMAGES):
            with Image.open(package_folder(crop.package) / crop.file) as image:
                left, top, right, bottom = crop.box
                box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
                part = image.convert("RGB").crop(tuple(round(value) for value in box))
            result = segmenter.segment(part, crop.vocabulary)
            print(f"{crop.file}: {crop.vocabulary}\n{result.summary()}\n")
            paths = result.save(Path(folder) / str(index))
            overlay = next(path for path in paths if path.name.endswith(".overlay.jpg"))
            row, column = divmod(index, COLUMNS)
            with Image.open(overlay) as picture:
                cell = ImageOps.pad(picture, CELL, color="white")
            sheet.paste(cell, (column * (CELL[0] + 8), row * (CELL[1] + 8)))
    sheet.save(target, quality=88, comment=comment())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"error: expected the path of the sheet\n\n{__doc__}")
    main(Path(sys.argv[1]))
