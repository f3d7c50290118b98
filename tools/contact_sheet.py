"""Put overlays of the demo side by side: the image in the README.

Usage: ./demo && python tools/contact_sheet.py demo-output docs/images/example.jpg
"""

import sys
from pathlib import Path

from PIL import Image

NAMES = ("china", "chelsea", "camera", "flower")
HEIGHT = 300  # pixels


def main(folder: Path, target: Path) -> None:
    """Scale the overlays to one height and put them side by side."""
    overlays = [Image.open(folder / name / f"{name}.overlay.jpg") for name in NAMES]
    scaled = [image.resize((round(image.width * HEIGHT / image.height), HEIGHT)) for image in overlays]
    sheet = Image.new("RGB", (sum(image.width for image in scaled) + 8 * (len(scaled) - 1), HEIGHT), "white")
    left = 0
    for image in scaled:
        sheet.paste(image, (left, 0))
        left += image.width + 8
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
