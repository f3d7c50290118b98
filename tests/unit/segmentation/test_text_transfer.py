"""MAFT+ through the inference path that API, command line and evaluation share."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny_clip
from ovrcoat.checkpoints.foreign import maft_plus_inference
from ovrcoat.config import ModelConfig, TextTransferConfig
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_transfer import TextTransfer
from ovrcoat.segmentation.prompt import TextEmbedder
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.segmentation.text_cache import TextCache
from ovrcoat.vocabulary import Vocabulary

VOCABULARY = "cat; dog; sky#stuff"
NO_BACKGROUND = {"background": "none"}


@pytest.fixture
def network(tiny_network: SegmentationNetwork) -> SegmentationNetwork:
    """The tiny network with a transfer that changes the classes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny_network.text_transfer = TextTransfer(16, heads=2, arrangement="panoptic").eval()
        for weight in (weight for weight in tiny_network.text_transfer.parameters() if weight.ndim > 1):
            nn.init.normal_(weight)
    return tiny_network


def make_segmenter(
    network: SegmentationNetwork,
    config: ModelConfig,
    *,
    cache: TextCache | None = None,
    arrangement: str = "panoptic",
) -> Segmenter:
    sizes = {"short_side": 64, "max_long_side": 128, "object_mask_threshold": 0.0, "overlap_threshold": 0.2}
    inference = maft_plus_inference(arrangement).model_copy(update=sizes)
    return Segmenter(
        network,
        config=config.model_copy(update={"inference": inference}),
        training_vocabulary=Vocabulary.parse("cat; sky#stuff"),
        provenance={},
        device="cpu",
        embedder=TextEmbedder(network, config=config, cache=cache),
    )


@pytest.fixture
def segmenter(network: SegmentationNetwork, tiny_config: ModelConfig) -> Segmenter:
    return make_segmenter(network, tiny_config)


def test_the_image_is_encoded_once_for_all_vocabularies(segmenter: Segmenter, image_pixels: np.ndarray):
    encoded = segmenter.encode(image_pixels)
    first = encoded.segment(VOCABULARY, **NO_BACKGROUND)
    encoded.segment("road#stuff; cat", **NO_BACKGROUND)
    assert segmenter.network.encoder.batch_sizes == [1]
    again = segmenter.segment(image_pixels, VOCABULARY, **NO_BACKGROUND)
    assert [(s.category, s.area) for s in first.segments] == [(s.category, s.area) for s in again.segments]
    assert len(first.segments) > 1


def test_the_transfer_changes_clip_s_classes(segmenter: Segmenter, image_pixels: np.ndarray):
    encoded, network = segmenter.encode(image_pixels), segmenter.network
    categories = segmenter.prompt(VOCABULARY, **NO_BACKGROUND).embeddings
    with torch.inference_mode():
        adapted = network.classify(encoded.encoding, categories).out_vocab_logits
        network.text_transfer = None
        plain = network.classify(encoded.encoding, categories).out_vocab_logits
    assert (adapted.softmax(-1) - plain.softmax(-1)).abs().max() > 0.05


def test_clip_alone_decides_the_category_and_void_is_that_of_the_head(
    segmenter: Segmenter, image_pixels: np.ndarray
):
    encoded = segmenter.encode(image_pixels)
    prompt = segmenter.prompt(VOCABULARY, **NO_BACKGROUND)
    with torch.inference_mode():
        predictions = segmenter.network.classify(encoded.encoding, prompt.embeddings)
    clip = predictions.out_vocab_logits[0].softmax(-1)
    with_void = torch.cat((predictions.in_vocab_logits[0], predictions.void_logits[0][:, None]), dim=-1)
    void = with_void.softmax(-1)[:, -1]
    masks = encoded.explain(VOCABULARY, **NO_BACKGROUND).masks
    names = [category.name for category in prompt.vocabulary.categories]
    for mask in masks:
        assert mask.void == pytest.approx(float(void[mask.query]), abs=1e-5)
        assert mask.category == names[int(clip[mask.query].argmax())]


def test_coat_adjusts_the_objectness_and_is_off_by_default(segmenter: Segmenter, image_pixels: np.ndarray):
    encoded = segmenter.encode(image_pixels)
    plain, off, on = (
        encoded.explain(VOCABULARY, **NO_BACKGROUND, **options).masks
        for options in ({}, {"trust": 0}, {"trust": 1})
    )
    assert [mask.void for mask in plain] == [mask.void for mask in off]
    assert [mask.objectness for mask in off] == [mask.objectness_before for mask in off]
    for adjusted, mask in zip(on, off, strict=True):
        expected = 1 - (1 - mask.objectness) * (1 - mask.clip_confidence)
        assert mask.objectness < adjusted.objectness == pytest.approx(expected, abs=1e-5)
    assert [mask.category for mask in on] == [mask.category for mask in off]


def test_a_result_does_not_depend_on_the_other_images_of_a_batch(
    segmenter: Segmenter, image_pixels: np.ndarray
):
    images = [image_pixels, 255 - image_pixels, image_pixels[:, ::-1].copy()]
    together = segmenter.segment_many(images, VOCABULARY, batch_size=3, **NO_BACKGROUND)
    for (_, result), image in zip(together, images, strict=True):
        alone = segmenter.segment(image, VOCABULARY, **NO_BACKGROUND)
        np.testing.assert_array_equal(result.id_map, alone.id_map)
        assert [s.category for s in result.segments] == [s.category for s in alone.segments]
    assert 3 in segmenter.network.encoder.batch_sizes


def test_the_text_cache_holds_embeddings_that_do_not_depend_on_an_image(
    image_pixels: np.ndarray, tmp_path: Path
):
    transfer = TextTransferConfig(heads=2)
    network, config = (
        make("convnext", transfer=transfer) for make in (tiny_clip.make_network, tiny_clip.make_config)
    )
    cache = TextCache(tmp_path)
    segmenter = make_segmenter(network, config, cache=cache)
    segmenter.segment(image_pixels, VOCABULARY, **NO_BACKGROUND)
    segmenter.segment(255 - image_pixels, VOCABULARY, **NO_BACKGROUND)
    assert cache.count() == 3
    network.encoder.embed_texts = None  # fails if a name is embedded again
    embeddings = make_segmenter(network, config, cache=cache).prompt(VOCABULARY, **NO_BACKGROUND).embeddings
    torch.testing.assert_close(embeddings.out_vocab.norm(dim=-1), torch.ones(3))
    assert embeddings.out_vocab is embeddings.in_vocab


def test_masks_of_the_user_are_classified_with_the_adapted_embeddings(
    segmenter: Segmenter, image_pixels: np.ndarray
):
    encoded = segmenter.encode(image_pixels)
    masks = np.zeros((2, *image_pixels.shape[:2]), dtype=bool)
    masks[0, 10:30, 5:25], masks[1, 20:38, 30:50] = True, True
    adapted = segmenter.classify_masks(encoded, masks, VOCABULARY, **NO_BACKGROUND)
    assert sum(probability for _, probability in adapted[0].top) == pytest.approx(1)
    segmenter.network.text_transfer = None
    plain = segmenter.classify_masks(encoded, masks, VOCABULARY, **NO_BACKGROUND)
    assert any(abs(a.score - b.score) > 0.01 for a, b in zip(adapted, plain, strict=True))


def test_an_encoded_image_can_be_pickled(segmenter: Segmenter, image_pixels: np.ndarray):
    encoded = segmenter.encode(image_pixels)
    restored = pickle.loads(pickle.dumps(encoded))
    first, second = (segmenter.segment(image, VOCABULARY, **NO_BACKGROUND) for image in (encoded, restored))
    np.testing.assert_array_equal(first.id_map, second.id_map)


def test_the_transfer_stays_float32_when_the_image_branch_does_not(
    network: SegmentationNetwork, tiny_config: ModelConfig, image_pixels: np.ndarray
):
    network.set_image_dtype(torch.bfloat16)
    network.encoder.projection.float()
    segmenter = make_segmenter(network, tiny_config)
    assert next(network.text_transfer.parameters()).dtype == torch.float32
    result = segmenter.segment(image_pixels, VOCABULARY, **NO_BACKGROUND)
    assert result.id_map.shape == image_pixels.shape[:2]


def test_the_semantic_arrangement_sums_masks_at_the_size_of_the_input(
    network: SegmentationNetwork, tiny_config: ModelConfig, image_pixels: np.ndarray
):
    segmenter = make_segmenter(network, tiny_config, arrangement="semantic")
    assert segmenter.prompt(VOCABULARY).settings.semantic_at_input_size
    large = image_pixels.repeat(5, axis=0).repeat(5, axis=1)
    first = segmenter.segment(large, VOCABULARY, task="semantic", **NO_BACKGROUND)
    other = segmenter.with_settings(semantic_at_input_size=False)
    second = other.segment(large, VOCABULARY, task="semantic", **NO_BACKGROUND)
    pairs = list(zip(first.segments, second.segments, strict=True))
    assert all(a.score == pytest.approx(b.score, abs=0.02) for a, b in pairs)
    assert any(a.score != b.score for a, b in pairs)
