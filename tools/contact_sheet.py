"""Put overlays of the demo side by side: the picture in the README.

Usage: ./demo && python tools/contact_sheet.py demo-output docs/images/example.jpg

The picture records which weights made it (`weights_of`), and a test compares them with the weights that ship.
"""

import sys
from pathlib import Path

from PIL import Image

from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.system.fingerprints import file_sha256

NAMES = ("china", "chelsea", "camera", "flower")
HEIGHT = 300  # pixels
PREFIX = "overlays by ovrcoat, weights "


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
    sheet.save(target, quality=88, comment=comment())


def comment() -> bytes:
    """Return the comment for a picture that the weights in the package make."""
    return f"{PREFIX}{file_sha256(embedded_path())}".encode()


def weights_of(picture: Path) -> str | None:
    """Return the SHA-256 of the weights that made a picture; None if it does not say."""
    with Image.open(picture) as image:
        text = image.info.get("comment", b"")  # bytes in a JPEG, text in a PNG
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
