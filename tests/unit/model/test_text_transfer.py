import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tiny_clip
from ovrcoat.config import TextTransferConfig
from ovrcoat.model.text_transfer import TextTransfer, transfer_tokens
from ovrcoat.model.transformer import sine_positions
from ovrcoat.structures import CategoryEmbeddings, ImageBatch

EMBEDDING, HEADS = 16, 4


def make_transfer(arrangement: str = "panoptic") -> TextTransfer:
    """Every weight is random, also those that start at zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transfer = TextTransfer(EMBEDDING, heads=HEADS, arrangement=arrangement)
        for weight in transfer.parameters():
            nn.init.normal_(weight, std=0.5)
    return transfer.eval()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def plain(transfer: TextTransfer, texts: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """The same in float64 with PyTorch's own attention, for one image."""
    attention = nn.MultiheadAttention(EMBEDDING, HEADS, batch_first=True)
    attention.load_state_dict(transfer.attention.state_dict())
    positions = sine_positions(*features.shape[-2:], channels=EMBEDDING, like=features)[0]
    values, keys = (maps.flatten(1).T[None].double() for maps in (features, features + positions))
    texts = texts.double()
    attended, _ = attention.double().eval()(texts[None], keys, values)
    change = F.linear(attended[0], transfer.linear.weight.double(), transfer.linear.bias.double())
    norm = nn.LayerNorm(EMBEDDING, eps=1e-5).double()
    norm.load_state_dict(transfer.norm.state_dict())
    return texts + norm(change) if transfer.arrangement == "panoptic" else norm(texts + change)


@pytest.mark.parametrize("arrangement", ["panoptic", "semantic"])
@torch.inference_mode()
def test_each_image_of_a_batch_has_its_own_text_embeddings(arrangement: str):
    transfer, texts = make_transfer(arrangement), F.normalize(random(5, EMBEDDING), dim=-1)
    features = random(2, EMBEDDING, 3, 4)
    ours = transfer(texts, features)
    assert ours.shape == (2, 5, EMBEDDING)
    for image in range(2):
        expected = plain(transfer, texts, features[image])
        torch.testing.assert_close(ours[image].double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours[image], transfer(texts, features[image : image + 1])[0])
    assert (ours[0] - ours[1]).abs().max() > 0.01


@torch.inference_mode()
def test_a_name_does_not_depend_on_the_other_names():
    transfer, texts = make_transfer(), random(5, EMBEDDING)
    features = random(1, EMBEDDING, 3, 4)
    torch.testing.assert_close(transfer(texts[1:3], features), transfer(texts, features)[:, 1:3])


@torch.inference_mode()
def test_without_the_linear_layer_only_the_bias_of_the_norm_is_added():
    transfer, texts = make_transfer(), random(5, EMBEDDING)
    for weight in transfer.linear.parameters():
        weight.zero_()
    expected = (texts + transfer.norm.bias)[None]
    torch.testing.assert_close(transfer(texts, random(1, EMBEDDING, 2, 3)), expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_tokens_are_cut_from_the_numbers_in_the_order_channel_row_column(memory_format: torch.memory_format):
    batch, channels, height, width = 2, 6, 3, 4
    features = random(batch, channels, height, width).contiguous(memory_format=memory_format)
    tokens = transfer_tokens(features)
    assert tokens.shape == (batch, height * width, channels)
    for image in range(batch):
        for token in range(height * width):
            for element in range(channels):
                channel, rest = divmod(token * channels + element, height * width)
                row, column = divmod(rest, width)
                assert tokens[image, token, element] == features[image, channel, row, column]


@torch.inference_mode()
def test_a_network_adapts_the_embeddings_of_clip_alone():
    network = tiny_clip.make_network("convnext", transfer=TextTransferConfig(heads=HEADS))
    nn.init.normal_(network.text_transfer.linear.weight)
    images = ImageBatch(random(2, 3, 64, 96) * 50 + 100, valid_sizes=((64, 96), (50, 90)))
    encoding = network(images, keep_clip_features=True)
    tokens = network.encoder.embed_features(transfer_tokens(encoding.clip_features))
    torch.testing.assert_close(encoding.transfer_features.flatten(2).mT, tokens)

    texts = F.normalize(random(3, EMBEDDING), dim=-1)
    categories = CategoryEmbeddings.shared(texts, torch.tensor([0, 1, 1]), 2)
    adapted = network.adapt(encoding, categories)
    assert adapted.in_vocab is texts
    torch.testing.assert_close(adapted.out_vocab, network.text_transfer(texts, encoding.transfer_features))

    predictions = network.classify(encoding, categories)
    cosine = F.normalize(encoding.clip.embeddings, dim=-1) @ adapted.out_vocab.mT
    logits = network.encoder.logit_scale.exp() * cosine
    expected = torch.stack((logits[..., 0], logits[..., 1:].amax(-1)), dim=-1)
    torch.testing.assert_close(predictions.out_vocab_logits, expected)
    in_vocab, void = network.text_classifier(encoding.proposals.embeddings, categories)
    torch.testing.assert_close(predictions.in_vocab_logits, in_vocab)
    torch.testing.assert_close(predictions.void_logits, void)

    second = network.classify(encoding.select(1), categories)
    torch.testing.assert_close(second.out_vocab_logits, predictions.out_vocab_logits[1:])


@torch.inference_mode()
def test_a_network_without_a_transfer_uses_the_same_embeddings_for_every_image():
    network = tiny_clip.make_network("convnext")
    encoding = network(ImageBatch(random(1, 3, 64, 64), valid_sizes=((64, 64),)))
    categories = CategoryEmbeddings.shared(random(1, EMBEDDING), torch.tensor([0]), 1)
    assert encoding.transfer_features is None
    assert network.adapt(encoding, categories) is categories


def test_an_encoder_whose_head_pools_cannot_embed_single_vectors():
    with pytest.raises(NotImplementedError, match="ResNetEncoder has no head for single feature vectors"):
        tiny_clip.make_network("resnet").encoder.embed_features(random(1, 2, 16))
