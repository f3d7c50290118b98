"""Segment example images with nano; ./demo runs this script.

`python tools/demo.py FOLDER` writes the images and ATTRIBUTION.txt to FOLDER. Every image has its own
vocabulary, and its own folder with an overlay, an id map and the segments as JSON. Nothing is downloaded: the
images are part of the installed packages scikit-image (public domain, CC0) and scikit-learn (CC BY 2.0).
"""

import shutil
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ovrcoat import Segmenter


@dataclass(frozen=True, slots=True)
class Example:
    """An example image.

    Attributes:
        package: Installed package that contains the image.
        file: Path of the image inside the package.
        credit: Author and license.
        vocabulary: Vocabulary to segment the image with.
    """

    package: str
    file: str
    credit: str
    vocabulary: str


EXAMPLES = (
    Example(
        "skimage",
        "data/camera.png",
        "Cameraman, by Lav Varshney. CC0.",
        "person; sky; grass; building",
    ),
    Example(
        "skimage",
        "data/chelsea.png",
        "Chelsea the cat, by Stefan van der Walt. CC0.",
        "cat; dog; person; sofa; blanket#stuff",
    ),
    Example(
        "skimage",
        "data/coffee.png",
        "A cup of espresso, by Rachel Michetti, courtesy of Pikolo Espresso Bar. CC0.",
        "cup; table#stuff",
    ),
    Example(
        "skimage",
        "data/rocket.jpg",
        "Falcon 9 before the launch of DSCOVR, SpaceX. Public domain.",
        "rocket#thing; sky#stuff; ground#stuff",
    ),
    Example(
        "sklearn",
        "datasets/images/china.jpg",
        "By danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/. "
        "CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/); the overlay is a changed version.",
        "temple, building; tree; sky; water; mountain",
    ),
    Example(
        "sklearn",
        "datasets/images/flower.jpg",
        "By vultilion, https://www.flickr.com/photos/vultilion/6056698931/. "
        "CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/); the overlay is a changed version.",
        "flower#thing; leaf, leaves#stuff",
    ),
)


def main(folder: Path) -> None:
    """Copy the images to `folder`, segment them, and print the segments and the files written."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    credits = "\n".join(f"{Path(example.file).name}: {example.credit}" for example in EXAMPLES)
    (folder / "ATTRIBUTION.txt").write_text(credits + "\n", encoding="utf-8")

    start = time.perf_counter()
    segmenter = Segmenter.load("nano")
    overlays: list[Path] = []
    for example in EXAMPLES:
        image = images / Path(example.file).name
        shutil.copyfile(package_folder(example.package) / example.file, image)
        print(f'\novrcoat segment {image.name} --vocabulary "{example.vocabulary}"')
        result = segmenter.segment(image, example.vocabulary)
        print(result.summary())
        overlays += [
            path for path in result.save(folder / image.stem, overwrite=True) if path.suffix == ".jpg"
        ]
    print(f"\n{len(EXAMPLES)} images in {time.perf_counter() - start:.1f} s. Overlays:")
    for overlay in overlays:
        print(f"  {overlay}")


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing the package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"error: the demo needs the images of {package}. Run: pip install 'ovrcoat[demo]'")
    return Path(spec.origin).parent


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
