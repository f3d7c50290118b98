import pytest
import torch
from torch.nn import functional as F

from ovrcoat.config import MaskDecoderConfig, ModelConfig, NanoConfig, NanoTextConfig, PixelDecoderConfig
from ovrcoat.model.encoders.nano import NanoEncoder
from ovrcoat.model.network import SegmentationNetwork, build_encoder, build_network
from ovrcoat.structures import CategoryEmbeddings, ImageBatch

TEMPLATES = ("a photo of a {}.", "There is a {} in the scene", "{}")


def images(count: int = 1) -> ImageBatch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 3, 64, 96, generator=generator) * 255
    return ImageBatch(pixels=pixels, valid_sizes=((60, 96),) * count)


@torch.no_grad()
def test_the_encoding_depends_on_the_image_alone(tiny_network: SegmentationNetwork):
    encoding = tiny_network(images(2))
    assert encoding.proposals.mask_logits.shape == (2, 10, 16, 24)
    assert encoding.proposals.embeddings.shape == (2, 10, 16)
    assert encoding.proposals.query_embeddings.shape == (2, 10, 32)
    assert encoding.clip.embeddings.shape == (2, 10, 16)
    assert encoding.clip.valid_mask.shape == (2, 10)
    assert tiny_network.encoder.texts == []


@torch.no_grad()
def test_a_batch_of_equal_sizes_equals_one_by_one(tiny_network: SegmentationNetwork):
    both = images(2)
    together = tiny_network(both)
    for index in range(2):
        alone = tiny_network(ImageBatch(both.pixels[index, None], both.valid_sizes[index : index + 1]))
        for ours, theirs in (
            (together.proposals.mask_logits, alone.proposals.mask_logits),
            (together.proposals.embeddings, alone.proposals.embeddings),
            (together.clip.embeddings, alone.clip.embeddings),
        ):
            torch.testing.assert_close(ours[index, None], theirs, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_both_classifiers_use_the_same_categories(tiny_network: SegmentationNetwork):
    encoding = tiny_network(images())
    categories = CategoryEmbeddings.shared(
        tiny_network.embed_names(["cat", "kitty", "sky"], TEMPLATES), torch.tensor([0, 0, 1]), 2
    )
    predictions = tiny_network.classify(encoding, categories)
    learned, void = tiny_network.text_classifier(encoding.proposals.embeddings, categories)
    clip = tiny_network.encoder.classify(encoding.clip.embeddings, categories)
    torch.testing.assert_close(predictions.in_vocab_logits, learned)
    torch.testing.assert_close(predictions.void_logits, void)
    torch.testing.assert_close(predictions.out_vocab_logits, clip)
    assert predictions.mask_logits is encoding.proposals.mask_logits
    assert predictions.valid_mask is encoding.clip.valid_mask


@torch.no_grad()
def test_each_classifier_uses_its_own_text_embeddings(tiny_network: SegmentationNetwork):
    encoding = tiny_network(images())
    first, second = tiny_network.embed_names(["cat", "sky", "dog", "sea"], TEMPLATES).chunk(2)
    categories = CategoryEmbeddings(first, second, torch.tensor([0, 1]), 2)
    predictions = tiny_network.classify(encoding, categories)
    for embeddings, of in ((first, "in_vocab_logits"), (second, "out_vocab_logits")):
        shared = CategoryEmbeddings.shared(embeddings, torch.tensor([0, 1]), 2)
        assert shared.in_vocab is shared.out_vocab
        expected = getattr(tiny_network.classify(encoding, shared), of)
        torch.testing.assert_close(getattr(predictions, of), expected, rtol=0, atol=0)
    assert not torch.equal(predictions.in_vocab_logits, predictions.out_vocab_logits)


@torch.no_grad()
def test_clip_features_are_kept_on_request(tiny_network: SegmentationNetwork):
    assert tiny_network(images()).clip_features is None
    encoding = tiny_network(images(2), keep_clip_features=True)
    assert encoding.clip_features is not None
    mask_logits = encoding.proposals.mask_logits
    again = tiny_network.encoder.embed_masks(encoding.clip_features, mask_logits)
    torch.testing.assert_close(again.embeddings, encoding.clip.embeddings, rtol=0, atol=0)


@torch.no_grad()
def test_one_image_of_a_batch_shares_no_memory_with_it(tiny_network: SegmentationNetwork):
    both = tiny_network(images(2), keep_clip_features=True)
    second = both.select(1)
    assert second.clip_features is not None
    for alone, together in (
        (second.proposals.mask_logits, both.proposals.mask_logits),
        (second.proposals.embeddings, both.proposals.embeddings),
        (second.proposals.query_embeddings, both.proposals.query_embeddings),
        (second.clip.embeddings, both.clip.embeddings),
        (second.clip.valid_mask, both.clip.valid_mask),
        (second.clip_features, both.clip_features),
    ):
        torch.testing.assert_close(alone, together[1:], rtol=0, atol=0)
        assert alone.untyped_storage().data_ptr() != together.untyped_storage().data_ptr()
    assert tiny_network(images(2)).select(0).clip_features is None


@torch.no_grad()
def test_a_text_embedding_is_the_mean_over_templates(tiny_network: SegmentationNetwork):
    embeddings = tiny_network.embed_names(["cat", "traffic light"], TEMPLATES)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2))
    for name, embedding in zip(["cat", "traffic light"], embeddings, strict=True):
        sentences = [f"a photo of a {name}.", f"There is a {name} in the scene", name]
        texts = F.normalize(tiny_network.encoder.embed_texts(sentences), dim=-1)
        torch.testing.assert_close(embedding, F.normalize(texts.mean(dim=0), dim=-1))


@torch.no_grad()
@pytest.mark.parametrize("name", ["{}", "a {} b", "{0}", "{name}", "100% \\1"])
def test_a_name_with_braces_is_not_formatted(tiny_network: SegmentationNetwork, name: str):
    embeddings = tiny_network.embed_names([name], ["the {} of {x}"])
    assert tiny_network.encoder.texts == [f"the {name} of {{x}}"]
    assert torch.isfinite(embeddings).all()


def test_the_builder_follows_the_configuration():
    text = NanoTextConfig(vocabulary_size=50, width=24, heads=2, layers=1, feed_forward=32)
    network = build_network(
        ModelConfig(
            encoder=NanoConfig(embedding_dim=24, text=text),
            pixel_decoder=PixelDecoderConfig(
                channels=32, mask_channels=16, layers=1, heads=4, points=2, feed_forward=48
            ),
            mask_decoder=MaskDecoderConfig(channels=32, queries=7, layers=2, heads=4, feed_forward=40),
        )
    )
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert {name.split(".")[0] for name in shapes} == {
        "encoder",
        "pixel_decoder",
        "mask_decoder",
        "text_classifier",
    }
    assert shapes["encoder.text_tower.token_embedding.weight"] == (50, 24)
    assert shapes["pixel_decoder.mask_projection.weight"] == (16, 32, 1, 1)
    assert shapes["pixel_decoder.layers.0.attention.attention_weights.bias"] == (4 * 3 * 2,)
    assert shapes["pixel_decoder.layers.0.feed_forward.linear1.weight"] == (48, 32)
    assert shapes["mask_decoder.query_features"] == (7, 32)
    assert shapes["mask_decoder.feed_forward.1.linear1.weight"] == (40, 32)
    assert "mask_decoder.feed_forward.2.linear1.weight" not in shapes
    assert shapes["mask_decoder.embedding_head.layers.2.weight"] == (24, 32)
    assert shapes["text_classifier.void_embedding"] == (24,)
    with torch.no_grad():
        encoding = network.eval()(images())
    assert encoding.proposals.mask_logits.shape == (1, 7, 16, 24)
    assert encoding.clip.embeddings.shape == (1, 7, 24)


def test_the_encoder_follows_the_family():
    text = NanoTextConfig(vocabulary_size=50, width=24, heads=2, layers=1, feed_forward=32)
    assert isinstance(build_encoder(NanoConfig(embedding_dim=24, text=text)), NanoEncoder)
