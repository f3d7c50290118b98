import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovrcoat.config import InferenceConfig
from ovrcoat.data.transforms import batch_images, resize
from ovrcoat.errors import CheckpointError, DatasetError
from ovrcoat.model.encoders.nano import LiteTrunk, NanoEncoder, SentenceTower
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.segmentation.user_masks import embed_masks
from ovrcoat.training.config import DataConfig
from ovrcoat.training.sources import ImageSource, open_source
from pooled_features import Pooler, without_projection

from .nano_images import EDGE, class_image_folder, labeled_folder, pixels

INFERENCE = InferenceConfig(short_side=64, max_long_side=96)


@pytest.fixture(scope="module")
def trunk() -> LiteTrunk:
    torch.manual_seed(0)
    return LiteTrunk().eval()


def source(folder: Path) -> ImageSource:
    return open_source(DataConfig(path=str(folder)), base=Path())


def test_crowds_and_tiny_segments_are_left_out(trunk: LiteTrunk, tmp_path: Path):
    pooler = Pooler(trunk, INFERENCE, folder=tmp_path / "kept")
    pooled = pooler.segments(source(labeled_folder(tmp_path / "images", images=2)))
    assert pooled.names == ("cat", "sky")
    assert pooled.labels.tolist() == [0, 1, 0, 1]
    assert pooled.images == ("images/0.png", "images/0.png", "images/1.png", "images/1.png")
    assert pooled.features.shape == (4, 1280)
    torch.testing.assert_close(pooled.features.norm(dim=-1), torch.ones(4))


@torch.no_grad()
def test_features_are_the_input_of_the_projection(trunk: LiteTrunk, tmp_path: Path):
    text_tower = SentenceTower(vocabulary_size=1, width=4, heads=1, layers=0, feed_forward=1, positions=2)
    encoder = NanoEncoder(embedding_dim=4, text_tower=text_tower).eval()
    encoder.visual_trunk = trunk
    mask = np.zeros((1, EDGE, EDGE), dtype=bool)
    mask[0, 1:, :20] = True
    mask[0, 5, 5] = False
    batch = batch_images([resize(pixels(0), (64, 64))], stride=32)
    sizes = ImageSizes(padded=(64, 64), valid=(64, 64), output=(EDGE, EDGE))
    expected = embed_masks(encoder, encoder(batch).clip_features, masks=mask, sizes=sizes)
    pooler = Pooler(trunk, INFERENCE, folder=tmp_path / "kept")
    pooled = pooler.segments(source(labeled_folder(tmp_path / "images", images=1)))
    torch.testing.assert_close(encoder.projection(pooled.features[:1]), expected.embeddings[0])


def test_class_images_are_pooled_as_a_whole(trunk: LiteTrunk, tmp_path: Path):
    folder = class_image_folder(tmp_path / "names", ["n02", "n01"])
    pooled = Pooler(trunk, INFERENCE, folder=tmp_path / "kept").class_images(folder)
    assert pooled.names == ("n01", "n02")
    assert pooled.labels.tolist() == [1, 0]
    assert pooled.images == ("n02.png", "n01.png")
    with torch.no_grad():
        dense = without_projection(trunk)(
            batch_images([resize(pixels(100), (64, 64))], stride=32)
        ).clip_features
    expected = F.normalize(dense.mean(dim=(2, 3)), dim=-1)
    torch.testing.assert_close(pooled.features[:1], expected, atol=1e-5, rtol=1e-4)


def test_features_are_cached_until_an_input_changes(trunk: LiteTrunk, tmp_path: Path):
    kept, images = tmp_path / "kept", labeled_folder(tmp_path / "images", images=1)
    first = Pooler(trunk, INFERENCE, folder=kept).segments(source(images))
    (file,) = kept.iterdir()
    assert re.fullmatch(r"pooled-images-[0-9a-f]{16}\.pt", file.name)
    image = images / "images/0.png"
    image.write_bytes(bytes(image.stat().st_size))  # the cache is used: the file is not decoded again
    again = Pooler(trunk, INFERENCE, folder=kept).segments(source(images))
    assert torch.equal(first.features, again.features)
    assert (first.names, first.images) == (again.names, again.images)
    other_size = InferenceConfig(short_side=32, max_long_side=96)
    with pytest.raises(DatasetError, match=r"0\.png"):
        Pooler(trunk, other_size, folder=kept).segments(source(images))


def test_a_damaged_cache_file_is_an_error(trunk: LiteTrunk, tmp_path: Path):
    kept, images = tmp_path / "kept", labeled_folder(tmp_path / "images", images=1)
    pooler = Pooler(trunk, INFERENCE, folder=kept)
    pooler.segments(source(images))
    next(kept.iterdir()).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"cached features cannot be read.*delete the file"):
        pooler.segments(source(images))


def test_a_dataset_without_a_large_segment_is_an_error(trunk: LiteTrunk, tmp_path: Path):
    folder = labeled_folder(tmp_path / "images", images=1)
    document = json.loads((folder / "panoptic.json").read_text())
    for segment in document["annotations"][0]["segments_info"]:
        segment["iscrowd"] = 1
    (folder / "panoptic.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"images: no segment is large enough to be pooled"):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").segments(source(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"JSONDecodeError.*list of objects with file_name and wnid"),
        ('[{"file_name": "a.jpg"}]', r"KeyError: 'wnid'"),
        ("7", r"TypeError"),
        ("[]", r"lists no image"),
        ('[{"file_name": 1, "wnid": "n1"}]', r"contains a value that is not a string"),
    ],
)
def test_a_damaged_labels_file_is_an_error(trunk: LiteTrunk, tmp_path: Path, content: str, message: str):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").class_images(tmp_path)


def test_a_missing_labels_file_is_an_error(trunk: LiteTrunk, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"labels\.json.*A folder of class images contains images/"):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").class_images(tmp_path)
