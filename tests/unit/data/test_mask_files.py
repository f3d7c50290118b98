import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.data.mask_files import MaskFiles
from ovrcoat.errors import ConfigError, ImageError

SIZE = (6, 8)


@pytest.fixture
def masks() -> np.ndarray:
    """Two masks that do not overlap."""
    found = np.zeros((2, *SIZE), dtype=bool)
    found[0, 1:4, 2:5] = True
    found[1, 4:, 6:] = True
    return found


def run_lengths(mask: np.ndarray) -> dict[str, object]:
    """Return COCO's uncompressed run lengths."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    starts = np.concatenate([[0], edges]) if flat[1] == 0 else np.concatenate([[0, 0], edges])
    return {"size": list(mask.shape), "counts": np.diff(starts).tolist()}


def annotations(masks: np.ndarray, **more: object) -> list[dict[str, object]]:
    return [{"segmentation": run_lengths(mask), **more} for mask in masks]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("key", "value", "objectness"),
    [("objectness", 0.25, 0.25), ("score", 1, 1.0), ("predicted_iou", 1.02, 1.0), ("area", 9, 1.0)],
)
def test_run_lengths(
    tmp_path: Path, masks: np.ndarray, key: str, value: float, objectness: float, wrapped: bool
):
    listed = annotations(masks, **{key: value})
    (tmp_path / "photo.json").write_text(json.dumps({"annotations": listed} if wrapped else listed))
    found = MaskFiles(tmp_path).read("photo.jpg", SIZE)
    assert np.array_equal(found.masks, masks)
    assert found.objectness.tolist() == [objectness] * 2


def test_compressed_run_lengths(tmp_path: Path, masks: np.ndarray):
    mask_tools = pytest.importorskip("pycocotools.mask")
    encoded = [mask_tools.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    listed = [{"segmentation": {**rle, "counts": rle["counts"].decode()}} for rle in encoded]
    (tmp_path / "photo.json").write_text(json.dumps(listed))
    assert np.array_equal(MaskFiles(tmp_path).read("photo.jpg", SIZE).masks, masks)


@pytest.mark.parametrize("name", ["objectness", "scores", "predicted_iou"])
def test_npz(tmp_path: Path, masks: np.ndarray, name: str):
    np.savez(tmp_path / "photo.npz", masks=masks.astype(np.uint8) * 255, **{name: np.array([0.5, 0.75])})
    found = MaskFiles(tmp_path).read("photo.jpg", SIZE)
    assert np.array_equal(found.masks, masks)
    assert found.objectness.tolist() == [0.5, 0.75]


def test_npz_that_ovrcoat_wrote(tmp_path: Path, masks: np.ndarray):
    segment_map = (masks * np.array([3, 7])[:, None, None]).sum(0)
    np.savez(
        tmp_path / "photo.npz",
        segment_map=segment_map,
        segment_id=np.array([7, 3]),
        objectness=np.array([0.5, 0.75]),
    )
    found = MaskFiles(tmp_path).read("photo.jpg", SIZE)
    assert np.array_equal(found.masks, masks[::-1])
    assert found.objectness.tolist() == [0.5, 0.75]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_id_map(tmp_path: Path, masks: np.ndarray, mode: str):
    id_map = (masks * np.array([5, 9])[:, None, None]).sum(0).astype(np.uint8)
    pixels = np.stack([id_map, np.zeros_like(id_map), id_map], axis=-1) if mode == "RGB" else id_map
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    found = MaskFiles(tmp_path).read("photo.jpg", SIZE)
    assert np.array_equal(found.masks, masks)
    assert found.objectness.tolist() == [1, 1]


def test_folder_of_png_files(tmp_path: Path, masks: np.ndarray):
    (tmp_path / "photo").mkdir()
    for index, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "photo" / f"{index}.png")
    assert np.array_equal(MaskFiles(tmp_path).read("photo.jpg", SIZE).masks, masks)


def test_one_coco_file_for_all_images(tmp_path: Path, masks: np.ndarray):
    path = tmp_path / "masks.json"
    listed = annotations(masks[:1], image_id=4, score=0.5)
    images = [{"id": 4, "file_name": "train/photo.jpg"}, {"id": 5, "file_name": "other.jpg"}]
    path.write_text(json.dumps({"images": images, "annotations": listed}))
    files = MaskFiles(path)
    found = files.read("photo.jpg", SIZE)
    assert np.array_equal(found.masks, masks[:1])
    assert found.objectness.tolist() == [0.5]
    assert len(files.read("other.jpg", SIZE).masks) == 0
    with pytest.raises(ImageError, match=r"lists no image third\.jpg"):
        files.read("third.jpg", SIZE)


def test_the_fingerprint_changes_with_the_files(tmp_path: Path, masks: np.ndarray):
    np.savez(tmp_path / "photo.npz", masks=masks)
    before = MaskFiles(tmp_path).fingerprint()
    assert MaskFiles(tmp_path).fingerprint() == before
    np.savez(tmp_path / "photo.npz", masks=masks[:1])
    assert MaskFiles(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"images": []}, "expected a JSON list of annotations"),
        ([{"segmentation": [[1, 1, 2, 2, 3, 3]]}], "annotation 1 has no valid run lengths"),
        ([{"segmentation": {"size": [6, 8], "counts": [7]}}], "annotation 1 has no valid run lengths"),
        ([{"segmentation": {"size": [6, 8], "counts": [48]}}], r"masks \[0\] are empty"),
        ([{"segmentation": {"size": [3, 8], "counts": [0, 24]}}], "8 × 3 pixels, expected 8 × 6"),
        ([{"segmentation": {"size": [6, 8], "counts": [0, 48]}, "score": 3}], "outside of 0 to 1"),
        ([{"segmentation": {"size": [6, 8], "counts": [0, 48]}, "score": "high"}], "not a number"),
    ],
)
def test_bad_annotations(tmp_path: Path, listed: object, message: str):
    (tmp_path / "photo.json").write_text(json.dumps(listed))
    with pytest.raises(ImageError, match=message):
        MaskFiles(tmp_path).read("photo.jpg", SIZE)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "no array 'masks'"),
        ({"masks": np.ones(SIZE)}, r"masks have shape \(6, 8\) and dtype float64"),
        ({"masks": np.ones((1, *SIZE), bool), "scores": np.ones(2)}, r"scores has shape \(2,\)"),
        ({"masks": np.array([{}], dtype=object)}, "cannot be read as an NPZ file"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "photo.npz", **arrays)
    with pytest.raises(ImageError, match=message):
        MaskFiles(tmp_path).read("photo.jpg", SIZE)


def test_damaged_files(tmp_path: Path):
    (tmp_path / "one.npz").write_bytes(b"nonsense")
    (tmp_path / "two.png").write_bytes(b"nonsense")
    for name, message in (("one", "cannot be read as an NPZ file"), ("two", "cannot be decoded")):
        with pytest.raises(ImageError, match=message):
            MaskFiles(tmp_path).read(f"{name}.jpg", SIZE)


def test_missing_masks(tmp_path: Path):
    with pytest.raises(ImageError, match=r"no masks of photo\.jpg in .*; expected photo\.json"):
        MaskFiles(tmp_path).read("photo.jpg", SIZE)
    with pytest.raises(ImageError, match=r"no file name.*EncodedImage\.with_masks"):
        MaskFiles(tmp_path).read(None, SIZE)
    with pytest.raises(ConfigError, match="holds no masks; give a folder"):
        MaskFiles(tmp_path / "nothing")


def test_images_with_the_same_masks_are_refused(tmp_path: Path):
    files = MaskFiles(tmp_path)
    files.check_names(["a/cat.jpg", "a/dog.jpg", Path("a/cat.jpg")])
    with pytest.raises(ConfigError, match=r"a/cat\.jpg and b/cat\.png would get the same masks"):
        files.check_names(["a/cat.jpg", "b/cat.png"])
