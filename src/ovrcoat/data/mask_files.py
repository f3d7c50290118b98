"""Masks of other tools in files, found by the name of the image. Files from strangers are safe to read.

For an image `photo.jpg` in a folder of masks:

| file | content |
|---|---|
| `photo.json` | COCO annotations, as Segment Anything writes them: run lengths in "segmentation" |
| `photo.npz` | array `masks` (mask, height, width), or `segment_map` with `segment_id` as ovrcoat writes it |
| `photo.png` | id map: one id per pixel, 0 is no mask; as RGB, id = R + 256 G + 65536 B |
| `photo/*.png` | one file per mask; every pixel except 0 belongs to it |

Instead of a folder, one COCO file with "images" and "annotations" can hold the masks of all images.
"""

import hashlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ovrcoat.data.label_images import decode_ids, decode_values
from ovrcoat.errors import ConfigError, DatasetError, ImageError
from ovrcoat.formats.json_files import read_json
from ovrcoat.formats.run_lengths import decode_runs
from ovrcoat.structures import Size
from ovrcoat.system.input_files import LABELS, open_input, read_input
from ovrcoat.system.json_values import as_integer
from ovrcoat.system.paths import is_file, is_folder, printable

MAX_MASKS = 10_000  # per image
MAX_MASK_BYTES = 4 << 30  # of all masks of an image, as one byte per pixel
# Names of the probability that a mask is an object. Segment Anything predicts an IoU, up to about 1.02.
OBJECTNESS_KEYS = ("objectness", "score", "predicted_iou")
OBJECTNESS_ARRAYS = (*OBJECTNESS_KEYS, "scores")


@dataclass(frozen=True, slots=True, eq=False)
class UserMasks:
    """Masks of one image that no network of ours proposed.

    Attributes:
        masks: at the size of the upright image. None is empty.
        objectness: probability that each mask is an object, 0..1.
    """

    masks: Bool[np.ndarray, "mask height width"]
    objectness: Float[np.ndarray, " mask"]


class MaskFiles:
    """The masks of many images.

    Args:
        path: a folder, or a COCO file; see the table above.

    Raises:
        ConfigError: there is no such folder or file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_folder(self.path) and not (is_file(self.path) and self.path.suffix == ".json"):
            raise ConfigError(
                f"{printable(self.path)} holds no masks; give a folder with NAME.json, NAME.npz, NAME.png or "
                "a folder NAME of PNG files per image, or one COCO file (.json)"
            )

    def check_names(self, images: Iterable[str | PathLike[str]]) -> None:
        """Check that masks are found for one image at most: the names differ in more than the suffix.

        Args:
            images: paths of all images; the same path may occur repeatedly.

        Raises:
            ConfigError: two images would get the same masks.
        """
        paths: dict[str, str] = {}
        for path in images:
            image = fspath(path)
            other = paths.setdefault(PurePosixPath(image).stem, image)
            if other != image:
                raise ConfigError(
                    f"{printable(other)} and {printable(image)} would get the same masks of "
                    f"{printable(self.path)}, which are found by the name of the image; use different names"
                )

    def read(self, image_name: str | None, size: Size) -> UserMasks:
        """Return the masks of an image.

        Args:
            image_name: the name of its file.
            size: height and width of the upright image.

        Raises:
            ImageError: there are no masks of this image, or they cannot be used.
        """
        if image_name is None:
            raise ImageError(
                "the image has no file name, by which its masks could be found; use EncodedImage.with_masks"
            )
        try:
            found = self._find(image_name)
            _check(found, size, location=f"masks of {printable(image_name)}")
        except DatasetError as error:
            raise ImageError(str(error)) from error
        return found

    def _find(self, image_name: str) -> UserMasks:
        stem = PurePosixPath(image_name).stem
        if self._by_stem is not None:
            if stem not in self._by_stem:
                raise ImageError(f"{printable(self.path)} lists no image {printable(image_name)}")
            return _from_annotations(self._by_stem[stem], location=str(self.path))
        base = self.path / stem
        for suffix, read in READERS.items():
            path = base.with_name(f"{stem}{suffix}")
            if (is_folder if suffix == "" else is_file)(path):
                return read(path)
        raise ImageError(
            f"there are no masks of {printable(image_name)} in {printable(self.path)}; expected {stem}.json, "
            f"{stem}.npz, {stem}.png or a folder {stem} of PNG files"
        )

    @cached_property
    def _by_stem(self) -> dict[str, list[Any]] | None:
        """The annotations of each image in a COCO file; None for a folder."""
        if is_folder(self.path):
            return None
        data = read_json(self.path, expected="COCO images and annotations")
        if not isinstance(data, dict) or not _is_list(data, "images") or not _is_list(data, "annotations"):
            raise DatasetError(
                f'{self.path}: expected a JSON object with the lists "images" and "annotations"; annotations '
                "of a single image belong into a folder, as NAME.json"
            )
        stems = {
            as_integer(image.get("id")): PurePosixPath(str(image.get("file_name"))).stem
            for image in data["images"]
            if isinstance(image, dict) and isinstance(as_integer(image.get("id")), int | str)
        }
        found: defaultdict[str, list[Any]] = defaultdict(list, {stem: [] for stem in stems.values()})
        for annotation in data["annotations"]:
            image_id = as_integer(annotation.get("image_id")) if isinstance(annotation, dict) else None
            if not isinstance(image_id, int | str) or image_id not in stems:
                raise DatasetError(
                    f'{self.path}: an annotation belongs to image {image_id!r}, not in "images"'
                )
            found[stems[image_id]].append(annotation)
        return dict(found)

    def fingerprint(self) -> str:
        """Return a fingerprint of the names, sizes and times of change of all files."""
        paths = sorted(self.path.rglob("*")) if is_folder(self.path) else [self.path]
        state = [
            (path.relative_to(self.path.parent).as_posix(), facts.st_size, facts.st_mtime_ns)
            for path in paths
            if path.is_file() and (facts := path.stat())
        ]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _is_list(data: Mapping[str, Any], key: str) -> bool:
    return isinstance(data.get(key), list)


def _read_json(path: Path) -> UserMasks:
    data = read_json(path, expected="a list of COCO annotations")
    listed = data.get("annotations") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise DatasetError(f'{path}: expected a JSON list of annotations, or an object with "annotations"')
    return _from_annotations(listed, location=str(path))


def _from_annotations(annotations: Sequence[Any], *, location: str) -> UserMasks:
    if len(annotations) > MAX_MASKS:
        raise DatasetError(
            f"{location}: {len(annotations):,} masks of one image, expected at most {MAX_MASKS:,}"
        )
    masks, objectness = [], []
    total = 0
    for number, annotation in enumerate(annotations, start=1):
        where = f"{location}: annotation {number}"
        segmentation = annotation.get("segmentation") if isinstance(annotation, dict) else None
        mask = decode_runs(segmentation) if isinstance(segmentation, dict) else None
        if mask is None:
            raise DatasetError(f'{where} has no valid run lengths in "segmentation" (polygons are not read)')
        if (total := total + mask.size) > MAX_MASK_BYTES:
            raise DatasetError(f"{location}: the masks need more than {MAX_MASK_BYTES >> 30} GiB of memory")
        masks.append(mask)
        objectness.append(next((annotation[key] for key in OBJECTNESS_KEYS if key in annotation), 1.0))
    if len({mask.shape for mask in masks}) > 1:
        raise DatasetError(
            f"{location}: the masks of one image differ in size; they must have that of the image"
        )
    return UserMasks(_stacked(masks), _probabilities(objectness, location=location))


def _read_npz(path: Path) -> UserMasks:
    try:
        with open_input(path, LABELS) as file, zipfile.ZipFile(file) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_MASK_BYTES:
                raise DatasetError(f"{path}: its arrays need more than {MAX_MASK_BYTES >> 30} GiB of memory")
        with open_input(path, LABELS) as file, np.load(file, allow_pickle=False) as arrays:
            masks = _masks_in(arrays, path)
            key = next((key for key in OBJECTNESS_ARRAYS if key in arrays), None)
            objectness = np.ones(len(masks)) if key is None else arrays[key]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DatasetError(f"{path} cannot be read as an NPZ file ({error}); save it again") from error
    if objectness.shape != (len(masks),):
        raise DatasetError(
            f"{path}: {key} has shape {objectness.shape}, expected one number per mask: ({len(masks)},)"
        )
    return UserMasks(masks, _probabilities(objectness, location=str(path)))


def _masks_in(arrays: Mapping[str, Any], path: Path) -> Bool[np.ndarray, "mask height width"]:
    if "masks" in arrays:
        masks = arrays["masks"]
        if masks.ndim != 3 or masks.dtype.kind not in "bui":
            raise DatasetError(
                f"{path}: masks have shape {masks.shape} and dtype {masks.dtype}, expected (mask, height, "
                "width) and bool or integers"
            )
        return masks != 0
    if "segment_map" in arrays and "segment_id" in arrays:
        return _stacked([arrays["segment_map"] == id for id in arrays["segment_id"][:MAX_MASKS].tolist()])
    raise DatasetError(f"{path} has no array 'masks', expected one of shape (mask, height, width)")


def _read_png(path: Path) -> UserMasks:
    id_map = _png_values(path)
    ids = np.unique(id_map[id_map != 0])
    if len(ids) > MAX_MASKS or len(ids) * id_map.size > MAX_MASK_BYTES:
        raise DatasetError(f"{path} has {len(ids):,} ids, too many masks for one image; is it an id map?")
    return UserMasks(_stacked([id_map == id for id in ids]), np.ones(len(ids)))


def _read_png_folder(path: Path) -> UserMasks:
    masks: list[Bool[np.ndarray, "height width"]] = []
    for file in sorted(path.glob("*.png"))[:MAX_MASKS]:
        masks.append(_png_values(file) != 0)
        if masks[-1].shape != masks[0].shape or len(masks) * masks[0].size > MAX_MASK_BYTES:
            raise DatasetError(f"{file}: the masks of one image differ in size, or need too much memory")
    return UserMasks(_stacked(masks), np.ones(len(masks)))


def _png_values(path: Path) -> Any:
    """Return one integer per pixel, of a grayscale, palette or RGB file."""
    try:
        content = read_input(path, LABELS)
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} ({error.strerror or error}); check its permissions"
        ) from error
    is_rgb = content[25:26] in (b"\x02", b"\x06")  # the color type in the header of a PNG
    decode = decode_ids if is_rgb else decode_values
    return decode(content, location=str(path))


READERS = {".json": _read_json, ".npz": _read_npz, ".png": _read_png, "": _read_png_folder}


def _stacked(masks: Sequence[Any]) -> Bool[np.ndarray, "mask height width"]:
    return np.stack(masks) if masks else np.zeros((0, 0, 0), dtype=bool)


def _probabilities(values: Any, *, location: str) -> Float[np.ndarray, " mask"]:
    """Return the objectness of each mask; predicted IoUs slightly above 1 become 1."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{location}: an objectness is not a number; expected 0 to 1") from error
    if not ((numbers >= 0) & (numbers <= 1.1)).all():  # also true for NaN
        raise DatasetError(f"{location}: an objectness is outside of 0 to 1; give probabilities")
    return np.minimum(numbers, 1.0)


def _check(found: UserMasks, size: Size, *, location: str) -> None:
    masks = found.masks
    if len(masks) and masks.shape[1:] != size:
        height, width = masks.shape[1:]
        raise DatasetError(
            f"{location} have {width} × {height} pixels, expected {size[1]} × {size[0]}, the size of the "
            "upright image"
        )
    empty = np.flatnonzero(~masks.any(axis=(1, 2))).tolist()
    if empty:
        raise DatasetError(f"{location}: masks {empty[:5]} are empty; leave them out")
