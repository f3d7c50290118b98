import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovrcoat.config import InferenceConfig
from ovrcoat.data.transforms import batch_images, resize
from ovrcoat.errors import CheckpointError, DatasetError
from ovrcoat.model.encoders.nano import LiteTrunk, NanoEncoder, SentenceTower
from ovrcoat.segmentation.mask_classification import embed_masks
from ovrcoat.training.config import DataConfig
from ovrcoat.training.nano.pooled import Pooler, hash_weights, unprojected
from ovrcoat.training.sources import Source, open_source

from .nano_images import EDGE, labelled_folder, named_folder, pixels

INFERENCE = InferenceConfig(short_side=64, max_long_side=96)


@pytest.fixture(scope="module")
def trunk() -> LiteTrunk:
    torch.manual_seed(0)
    return LiteTrunk().eval()


def source(folder: Path) -> Source:
    return open_source(DataConfig(path=str(folder)), base=Path())


def test_segments_are_named_by_their_category_without_crowds_and_tiny_ones(trunk: LiteTrunk, tmp_path: Path):
    pooler = Pooler(trunk, INFERENCE, folder=tmp_path / "kept")
    pooled = pooler.segments(source(labelled_folder(tmp_path / "images", images=2)))
    assert pooled.names == ("cat", "sky")
    assert pooled.labels.tolist() == [0, 1, 0, 1]
    assert pooled.images == ("images/0.png", "images/0.png", "images/1.png", "images/1.png")
    assert pooled.features.shape == (4, 1280)
    torch.testing.assert_close(pooled.features.norm(dim=-1), torch.ones(4))


@torch.no_grad()
def test_features_go_into_the_projection_as_they_are(trunk: LiteTrunk, tmp_path: Path):
    words = SentenceTower(vocabulary_size=1, width=4, heads=1, layers=0, feed_forward=1, positions=2)
    encoder = NanoEncoder(embedding_dim=4, text_tower=words).eval()
    encoder.visual_trunk = trunk
    mask = np.zeros((1, EDGE, EDGE), dtype=bool)
    mask[0, 1:, :20] = True
    mask[0, 5, 5] = False
    expected = embed_masks(encoder, batch_images([resize(pixels(0), (64, 64))]), masks=mask)
    pooler = Pooler(trunk, INFERENCE, folder=tmp_path / "kept")
    pooled = pooler.segments(source(labelled_folder(tmp_path / "images", images=1)))
    torch.testing.assert_close(encoder.projection(pooled.features[:1]), expected)


def test_named_images_are_pooled_whole(trunk: LiteTrunk, tmp_path: Path):
    folder = named_folder(tmp_path / "names", ["n02", "n01"])
    pooled = Pooler(trunk, INFERENCE, folder=tmp_path / "kept").named_images(folder)
    assert pooled.names == ("n01", "n02")
    assert pooled.labels.tolist() == [1, 0]
    assert pooled.images == ("n02.png", "n01.png")
    with torch.no_grad():
        dense = unprojected(trunk)(batch_images([resize(pixels(100), (64, 64))])).dense
    expected = F.normalize(dense.mean(dim=(2, 3)), dim=-1)
    torch.testing.assert_close(pooled.features[:1], expected, atol=1e-5, rtol=1e-4)


def test_what_was_pooled_is_kept_as_long_as_nothing_changes(trunk: LiteTrunk, tmp_path: Path):
    kept, images = tmp_path / "kept", labelled_folder(tmp_path / "images", images=1)
    first = Pooler(trunk, INFERENCE, folder=kept).segments(source(images))
    (file,) = kept.iterdir()
    assert re.fullmatch(r"pooled-images-[0-9a-f]{16}\.pt", file.name)
    (images / "images/0.png").unlink()  # nobody looks at it again
    again = Pooler(trunk, INFERENCE, folder=kept).segments(source(images))
    assert torch.equal(first.features, again.features)
    assert (first.names, first.images) == (again.names, again.images)
    other_size = InferenceConfig(short_side=32, max_long_side=96)
    with pytest.raises(DatasetError, match=r"0\.png"):
        Pooler(trunk, other_size, folder=kept).segments(source(images))


def test_other_weights_are_told_apart(trunk: LiteTrunk):
    assert hash_weights(nn.Linear(1, 1)) != hash_weights(nn.Linear(1, 1))
    assert hash_weights(trunk) == hash_weights(trunk)


def test_damaged_features_are_told_with_the_way_out(trunk: LiteTrunk, tmp_path: Path):
    kept, images = tmp_path / "kept", labelled_folder(tmp_path / "images", images=1)
    pooler = Pooler(trunk, INFERENCE, folder=kept)
    pooler.segments(source(images))
    next(kept.iterdir()).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"kept features cannot be read.*delete the file"):
        pooler.segments(source(images))


def test_a_data_set_without_a_large_segment_is_told(trunk: LiteTrunk, tmp_path: Path):
    folder = labelled_folder(tmp_path / "images", images=1)
    document = json.loads((folder / "panoptic.json").read_text())
    for segment in document["annotations"][0]["segments_info"]:
        segment["iscrowd"] = 1
    (folder / "panoptic.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"images: no segment is large enough to teach a word"):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").segments(source(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"JSONDecodeError.*list of objects with file_name and wnid"),
        ('[{"file_name": "a.jpg"}]', r"KeyError: 'wnid'"),
        ("7", r"TypeError"),
        ("[]", r"names no image"),
        ('[{"file_name": 1, "wnid": "n1"}]', r"something else than texts"),
    ],
)
def test_a_faulty_list_of_names_is_told(trunk: LiteTrunk, tmp_path: Path, content: str, message: str):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").named_images(tmp_path)


def test_a_missing_list_of_names_is_told(trunk: LiteTrunk, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"labels\.json.*A folder of named images holds images/"):
        Pooler(trunk, INFERENCE, folder=tmp_path / "kept").named_images(tmp_path)
