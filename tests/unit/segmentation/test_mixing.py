"""Masks of one network, names of another."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ovrcoat import Segmenter, Vocabulary
from ovrcoat.checkpoints import mask2former, native
from ovrcoat.checkpoints.mask2former import INFERENCE, LoadedMask2Former
from ovrcoat.config import ModelConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.mixed_network import MixedNetwork
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import PanopticResult
from ovrcoat.segmentation import loading
from ovrcoat.segmentation.image_encoder import fit_mask_logits
from ovrcoat.segmentation.mixed_embedder import MixedEmbedder
from ovrcoat.segmentation.prompt import TextEmbedder
from tiny_mask2former import make_config, make_mask2former
from tiny_network import make_network

CLASSES = Vocabulary.parse("cat; dog; sky#stuff; sea, water#stuff")
OPTIONS = {"background": "none"}


def mixed_segmenter(masks, names, config: ModelConfig, *, embedder=None, size=(64, 128)) -> Segmenter:
    return Segmenter(
        MixedNetwork(masks, names, names_test_size=size),
        config=config,
        training_vocabulary=CLASSES,
        provenance={},
        device="cpu",
        embedder=embedder or MixedEmbedder(CLASSES, TextEmbedder(names, config=config)),
    )


@pytest.fixture
def with_mask2former(tiny_config: ModelConfig) -> Segmenter:
    inference = INFERENCE.model_copy(
        update={"short_side": 64, "max_long_side": 128, "overlap_threshold": 0.1}
    )
    config = tiny_config.model_copy(update={"inference": inference})
    return mixed_segmenter(make_mask2former(classes=len(CLASSES)), make_network(), config)


def assert_same(one: PanopticResult, other: PanopticResult) -> None:
    assert np.array_equal(one.id_map, other.id_map)
    assert one.segments == other.segments


def test_a_network_mixed_with_itself_gives_its_own_results(
    tiny_segmenter: Segmenter, tiny_config: ModelConfig, image_pixels: np.ndarray
):
    network = tiny_segmenter.network
    embedder = TextEmbedder(network, config=tiny_config)
    mixed = mixed_segmenter(
        make_network(), make_network(), tiny_config, embedder=MixedEmbedder(embedder, embedder)
    )
    expected = tiny_segmenter.segment(image_pixels, "cat; tree; sky#stuff", **OPTIONS)
    found = mixed.segment(image_pixels, "cat; tree; sky#stuff", **OPTIONS)
    assert len(expected.segments) > 0
    # their training vocabularies differ, but "cat" and "sky" are seen by both
    assert_same(found, expected)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_coat_adjusts_the_objectness_of_mask2former_for_any_vocabulary(
    with_mask2former: Segmenter, image_pixels: np.ndarray, trust: float
):
    encoded = with_mask2former.encode(image_pixels)
    class_logits = encoded.encoding.proposals.embeddings[0]
    expected = 1 - class_logits.softmax(-1)[:, -1]
    for vocabulary in ("cat; dog", "painting; water#stuff", "painting; vase"):
        explanation = with_mask2former.explain(encoded, vocabulary, trust=trust, **OPTIONS)
        for mask in explanation.masks:
            assert mask.objectness_before == pytest.approx(float(expected[mask.query]), abs=1e-5)
            adjusted = 1 - (1 - mask.objectness_before) * (1 - trust * mask.clip_confidence)
            assert mask.objectness == pytest.approx(adjusted, abs=1e-5)
            assert (mask.objectness > mask.objectness_before) == (trust > 0)


def test_without_clip_the_names_are_those_of_mask2former(
    with_mask2former: Segmenter, image_pixels: np.ndarray
):
    closed = with_mask2former.with_settings(alpha=0.0)
    encoded = closed.encode(image_pixels)
    expected = encoded.encoding.proposals.embeddings[0, :, :-1].argmax(-1)
    explanation = closed.explain(encoded, CLASSES, **OPTIONS)
    for mask in explanation.masks:
        assert mask.category == CLASSES.categories[int(expected[mask.query])].name


def test_unseen_categories_are_named_by_clip_alone(with_mask2former: Segmenter, image_pixels: np.ndarray):
    encoded = with_mask2former.encode(image_pixels)
    prompt = with_mask2former.prompt("painting; vase; lamp", **OPTIONS)
    assert not prompt.seen.any()
    predictions = with_mask2former.network.classify(encoded.encoding, prompt.embeddings)
    expected = predictions.out_vocab_logits[0].softmax(-1)
    explanation = with_mask2former.explain(encoded, "painting; vase; lamp", **OPTIONS)
    names = [category.name for category in prompt.vocabulary.categories]
    for mask in explanation.masks:
        assert mask.category == names[int(expected[mask.query].argmax())]


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_results_do_not_depend_on_the_batch(with_mask2former: Segmenter, image_pixels: np.ndarray, task: str):
    images = [image_pixels, image_pixels[::-1].copy(), image_pixels[:, ::-1].copy()]
    vocabulary = "cat; painting; water#stuff"
    alone = [with_mask2former.segment(image, vocabulary, task=task, **OPTIONS) for image in images]
    pairs = with_mask2former.segment_many(images, vocabulary, task=task, batch_size=3, **OPTIONS)
    for expected, (_, found) in zip(alone, pairs, strict=True):
        assert np.array_equal(found.segment_map(), expected.segment_map())


def test_each_network_sees_its_own_resolution(tiny_config: ModelConfig, image_pixels: np.ndarray):
    segmenter = mixed_segmenter(make_mask2former(classes=4), make_network(), tiny_config, size=(100, 200))
    encoded = segmenter.encode(image_pixels)  # 40 × 56 pixels
    assert encoded.sizes == ImageSizes(padded=(64, 96), valid=(64, 90), output=(40, 56))
    assert encoded.clip_sizes == ImageSizes(padded=(128, 160), valid=(100, 140), output=(40, 56))
    assert encoded.encoding.clip_features.shape[-2:] == (4, 5)
    labels = segmenter.classify_masks(encoded, np.ones((1, 40, 56), bool), "cat; dog", **OPTIONS)
    assert len(labels) == 1


def test_mask_logits_follow_the_image_to_another_resolution():
    sizes = ImageSizes(padded=(64, 96), valid=(48, 96), output=(48, 96))
    target = ImageSizes(padded=(128, 192), valid=(96, 192), output=(48, 96))
    logits = torch.full((1, 1, 16, 24), -5.0)
    logits[..., 4:8, 6:12] = 5  # in pixels of the image: rows 16..31, columns 24..47
    fitted = fit_mask_logits(logits, sizes, target)
    assert fitted.shape == (1, 1, 32, 48)
    inside = torch.zeros(32, 48, dtype=torch.bool)
    inside[8:16, 12:24] = True
    assert torch.equal(fitted[0, 0] > 0, inside)
    assert (fitted[0, 0, 24:] < 0).all()  # padding
    assert fit_mask_logits(logits, sizes, sizes) is logits


class TestLoad:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path, tiny_segmenter: Segmenter, monkeypatch) -> Path:
        """Register the tiny network as the file of a model."""
        path = tmp_path / "tiny.safetensors"
        path.touch()

        def load(path: Path, *, device: torch.device, image_dtype: torch.dtype) -> native.LoadedModel:
            return native.LoadedModel(
                make_network(),
                config=tiny_segmenter.config,
                training_vocabulary=tiny_segmenter.training_vocabulary,
                provenance={"source": "here"},
                text_embeddings={},
            )

        monkeypatch.setattr(loading.native, "load", load)
        return path

    def test_masks_of_another_checkpoint(self, checkpoint: Path, image_pixels: np.ndarray):
        other = checkpoint.with_name("other.safetensors")
        other.touch()
        mixed = Segmenter.load(checkpoint, masks=other, device="cpu", text_cache=None)
        plain = Segmenter.load(checkpoint, device="cpu", text_cache=None)
        assert isinstance(mixed.network, MixedNetwork)
        assert mixed.provenance == {"source": "here", "source_of_names": "here"}
        assert_same(mixed.segment(image_pixels, "cat; dog"), plain.segment(image_pixels, "cat; dog"))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_masks_of_mask2former(
        self, checkpoint: Path, image_pixels: np.ndarray, monkeypatch, tmp_path: Path, dtype: str
    ):
        folder = tmp_path / "mask2former"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        loaded = LoadedMask2Former(make_mask2former(classes=4), make_config(classes=4), CLASSES, {})
        monkeypatch.setattr(mask2former, "load_mask2former", lambda path: loaded)
        segmenter = Segmenter.load(checkpoint, masks=folder, device="cpu", dtype=dtype, text_cache=None)
        assert segmenter.training_vocabulary is CLASSES
        assert segmenter.config.inference.beta == 1.0
        assert segmenter.network.image_dtype == getattr(torch, dtype)
        small = segmenter.with_settings(short_side=64, max_long_side=128)
        assert small.segment(image_pixels, "cat; painting", **OPTIONS).size == (40, 56)

    def test_masks_of_files(self, checkpoint: Path, image_pixels: np.ndarray, tmp_path: Path):
        from PIL import Image

        Image.fromarray(image_pixels).save(tmp_path / "photo.png")
        masks = np.zeros((2, 40, 56), bool)
        masks[0, :20], masks[1, 20:] = True, True
        folder = tmp_path / "masks"
        folder.mkdir()
        np.savez(folder / "photo.npz", masks=masks, objectness=np.array([0.8, 0.9]))
        segmenter = Segmenter.load(checkpoint, masks=folder, device="cpu", text_cache=None)
        results = segmenter.segment_many([tmp_path / "photo.png"], "cat; dog", trust=0, **OPTIONS)
        ((_, result),) = results
        by_hand = segmenter.encode(tmp_path / "photo.png").with_masks(masks, [0.8, 0.9])
        assert_same(result, by_hand.segment("cat; dog", trust=0, **OPTIONS))
        assert [segment.area for segment in result.segments] == [1120, 1120]

    def test_bad_sources(self, checkpoint: Path):
        with pytest.raises(ConfigError, match="unknown model 'nope'"):
            Segmenter.load(checkpoint, masks="nope", text_cache=None)
        with pytest.raises(ConfigError, match="cannot be compiled; omit compile"):
            Segmenter.load(checkpoint, masks=checkpoint, compile=True, text_cache=None)
        other = checkpoint.with_name("masks.txt")
        other.touch()
        with pytest.raises(ConfigError, match=re.escape(f"{other} holds no masks")):
            Segmenter.load(checkpoint, masks=other, text_cache=None)
