"""Segment images that nano was not trained on, and put the overlays on sheets, for docs/nano.md.

Usage: python tools/nano/ten_images.py docs/images

It writes nano-ten.jpg and nano-failures.jpg. Six of the ten images are those of the demo. The others are
images and crops from scikit-image and scikit-learn. Nothing is downloaded.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the tools of the folder above

from contact_sheet import comment
from demo import EXAMPLES, package_folder
from ovrcoat import Segmenter

CELL = (300, 240)  # pixels


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


TEN = (
    *(Crop(example.package, example.file, example.vocabulary) for example in EXAMPLES),
    Crop("skimage", "data/astronaut.png", "person; flag"),
    Crop("skimage", "data/motorcycle_left.png", "motorcycle; wall#stuff; floor#stuff; bicycle"),
    Crop("sklearn", "datasets/images/china.jpg", "temple, building; tree; sky", (0.3, 0, 1, 0.6)),
    Crop("skimage", "data/camera.png", "person; camera; sky", (0.2, 0, 0.8, 0.5)),
)

FAILURES = (
    Crop("skimage", "data/coffee.png", "cup; spoon; saucer; table#stuff"),
    Crop("skimage", "data/chelsea.png", "cat; dog; person; sofa; blanket#stuff"),
    Crop("skimage", "data/astronaut.png", "person; flag"),
)


def main(folder: Path) -> None:
    """Segment the images and write the sheets."""
    segmenter = Segmenter.load("nano")
    for name, crops, columns in (("nano-ten.jpg", TEN, 5), ("nano-failures.jpg", FAILURES, 3)):
        write_sheet(folder / name, crops, columns=columns, segmenter=segmenter)


def write_sheet(target: Path, crops: Sequence[Crop], *, columns: int, segmenter: Segmenter) -> None:
    """Segment `crops` and write their overlays as one picture, in rows of `columns`."""
    rows = -(-len(crops) // columns)
    sheet = Image.new("RGB", (columns * (CELL[0] + 8) - 8, rows * (CELL[1] + 8) - 8), "white")
    with TemporaryDirectory() as folder:
        for index, crop in enumerate(crops):
            with Image.open(package_folder(crop.package) / crop.file) as image:
                left, top, right, bottom = crop.box
                box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
                part = image.convert("RGB").crop(tuple(round(value) for value in box))
            result = segmenter.segment(part, crop.vocabulary)
            print(f"{crop.file}: {crop.vocabulary}\n{result.summary()}\n")
            paths = result.save(Path(folder) / str(index))
            overlay = next(path for path in paths if path.name.endswith(".overlay.jpg"))
            row, column = divmod(index, columns)
            with Image.open(overlay) as picture:
                cell = ImageOps.pad(picture, CELL, color="white")
            sheet.paste(cell, (column * (CELL[0] + 8), row * (CELL[1] + 8)))
    sheet.save(target, quality=88, comment=comment())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"error: expected the folder of the sheets\n\n{__doc__}")
    main(Path(sys.argv[1]))
