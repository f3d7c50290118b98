from collections.abc import Sequence

import pytest
import torch
from torch import nn

from ovrcoat.model.encoders import nano
from ovrcoat.model.encoders.nano import FoldedConv, LiteTrunk, NanoEncoder, SentenceTower
from ovrcoat.structures import ImageBatch
from tool_modules import load_tool

fold = load_tool("nano/towers").fold
POSITIONS = 16


def sentence_tower() -> SentenceTower:
    torch.manual_seed(0)
    return SentenceTower(
        vocabulary_size=30_522, width=24, heads=2, layers=2, feed_forward=32, positions=POSITIONS
    ).eval()


@pytest.fixture(scope="module")
def encoder() -> NanoEncoder:
    return NanoEncoder(embedding_dim=24, text_tower=sentence_tower()).eval()


def randomise_statistics(network: nn.Module) -> None:
    """Give every BatchNorm random statistics and weights instead of the neutral initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.normal_(module.bias, std=0.3)


def fold_timm(reference: nn.Module) -> LiteTrunk:
    """Our trunk with the weights of timm's network."""
    state, trunk = reference.state_dict(), LiteTrunk().double()
    fold(trunk.stem, state, conv="conv_stem", norm="bn1")
    for stage_index, stage in enumerate(trunk.stages):
        for block_index, block in enumerate(stage):
            names = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
            if len(block.layers) == 2:  # no expansion
                names = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
            for layer, (conv, norm) in zip(block.layers, names, strict=True):
                prefix = f"blocks.{stage_index}.{block_index}."
                fold(layer, state, conv=prefix + conv, norm=prefix + norm)
    fold(trunk.head, state, conv="conv_head", norm="bn2")
    return trunk.eval()


@torch.no_grad()
def test_the_trunk_equals_timms_efficientnet_lite2():
    import timm

    torch.manual_seed(0)
    reference = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    reference.double()  # where only a wrong formula makes a difference
    randomise_statistics(reference)
    trunk = fold_timm(reference)
    pixels = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    features = trunk(pixels)

    maps = [reference.bn1(reference.conv_stem(pixels))]
    for stage in reference.blocks:
        maps.append(stage(maps[-1]))
    expected = [maps[index + 1] for index in nano.LEVEL_STAGES]
    dense = reference.forward_features(pixels)
    for ours, theirs in zip((*features.levels, features.clip_features), (*expected, dense), strict=True):
        assert theirs.std() > 0.01  # random weights did not silence it
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_sizes_are_divided_by_the_stride(kernel: int, stride: int):
    layer = FoldedConv(3, 4, kernel, stride=stride)
    result = layer(torch.randn(1, 3, 8, 12))
    assert result.shape == (1, 4, 8 // stride, 12 // stride)
    assert result.min() >= 0
    assert result.max() <= 6


@torch.no_grad()
def test_levels_have_the_documented_channels_and_strides(encoder: NanoEncoder):
    features = encoder(ImageBatch(pixels=torch.rand(1, 3, 64, 96) * 255, valid_sizes=((64, 96),)))
    for stride, channels, level in zip((4, 8, 16, 32), encoder.channels, features.levels, strict=True):
        assert level.shape == (1, channels, 64 // stride, 96 // stride)
    assert features.clip_features.shape == (1, 1280, 2, 3)


def test_pixels_are_normalized_as_efficientnet_lite_was_trained(encoder: NanoEncoder):
    pixels = torch.full((1, 3, 32, 32), 255.0)
    normalized = encoder.normalize(ImageBatch(pixels=pixels, valid_sizes=((16, 32),)))
    assert normalized[:, :, :16].unique().tolist() == [1.0]  # (255 - 127) / 128
    assert normalized[:, :, 16:].unique().tolist() == [0.0]


@torch.no_grad()
def test_pooling_is_weighted_by_the_share_of_each_cell(encoder: NanoEncoder):
    dense = torch.randn(1, 1280, 1, 2)
    mask_logits = torch.full((1, 3, 8, 16), -1.0)
    mask_logits[0, 0, :, :8] = 1  # the left cell
    mask_logits[0, 1, :4] = 1  # half of both
    mask_logits[0, 2, :, 8:] = 1  # the right cell, and a quarter of the left
    mask_logits[0, 2, :4, :4] = 1
    result = encoder.embed_masks(dense, mask_logits)
    left, right = dense[0, :, 0, 0], dense[0, :, 0, 1]
    for query, pooled in enumerate((left, (left + right) / 2, (0.25 * left + right) / 1.25)):
        expected = encoder.projection(pooled / pooled.norm())
        torch.testing.assert_close(result.embeddings[0, query], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_small_masks_are_valid_and_empty_ones_are_not(encoder: NanoEncoder):
    mask_logits = torch.full((1, 2, 16, 24), -1.0)
    mask_logits[0, 0, 3, 5] = 1
    result = encoder.embed_masks(torch.randn(1, 1280, 2, 3), mask_logits)
    assert result.valid_mask.tolist() == [[True, False]]
    torch.testing.assert_close(result.embeddings[0, 1], encoder.projection.bias)


def test_no_gradient_flows_into_masks(encoder: NanoEncoder):
    mask_logits = torch.randn(1, 2, 16, 24, requires_grad=True)
    dense = torch.randn(1, 1280, 2, 3, requires_grad=True)
    encoder.embed_masks(dense, mask_logits).embeddings.sum().backward()
    encoder.zero_grad()
    assert mask_logits.grad is None
    assert dense.grad is not None


TEXTS = ("cat", "a photo of a traffic light.", "sky", "", "a dog on the sofa near the wall")


@torch.no_grad()
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], (*TEXTS, "cat")])
def test_texts_of_unequal_length_equal_one_by_one(encoder: NanoEncoder, texts: Sequence[str]):
    together = encoder.embed_texts(texts)
    assert together.shape == (len(texts), 24)
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(row, encoder.embed_texts([text])[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_tokens_and_their_order_matter(encoder: NanoEncoder):
    rows = encoder.embed_texts(["cat on sofa", "sofa on cat", "cat on sofa"])
    assert not torch.allclose(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


@torch.no_grad()
def test_each_distinct_text_is_encoded_once_in_small_batches(
    encoder: NanoEncoder, monkeypatch: pytest.MonkeyPatch
):
    batches: list[int] = []
    hook = encoder.text_tower.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    monkeypatch.setattr("ovrcoat.model.encoders.text_batches.MAX_BATCH", 2)
    rows = encoder.embed_texts(["cat", "dog", "cat", "sky", "dog"])
    hook.remove()
    assert batches == [2, 1]
    assert rows.shape == (5, 24)
    assert torch.equal(rows[0], rows[2])


def test_no_text_gives_no_embedding(encoder: NanoEncoder):
    assert encoder.embed_texts([]).shape == (0, 24)


@torch.no_grad()
def test_the_full_length_is_reported_and_long_texts_are_truncated(encoder: NanoEncoder):
    most = POSITIONS - 2  # start and end take two places
    assert encoder.text_length("cat") == (1, most)
    assert encoder.text_length("") == (0, most)
    assert encoder.text_length("cat " * most) == (most, most)
    assert encoder.text_length("cat " * 40) == (40, most)
    fitting, longer = encoder.embed_texts(["cat " * most, "cat " * most + "dog " * 30])
    torch.testing.assert_close(fitting, longer)


@pytest.mark.parametrize("text", ["cat", "café", "crème brûlée", "it's a {} [x] ~ #1"])
def test_texts_in_latin_script_are_known(encoder: NanoEncoder, text: str):
    assert not encoder.unknown_text(text)


@pytest.mark.parametrize("text", ["猫", "кот", "a 猫", "ελιά", "🐱"])
def test_other_scripts_are_unknown(encoder: NanoEncoder, text: str):
    assert encoder.unknown_text(text)


@torch.no_grad()
def test_the_tower_averages_the_tokens_of_each_text():
    tower = sentence_tower()
    tokens, lengths = torch.randint(0, 100, (2, 5)), torch.tensor([5, 3])
    result = tower(tokens, lengths)
    for index, length in enumerate(lengths.tolist()):
        states = tower.token_embedding(tokens[index, :length]) + tower.position_embedding.weight[:length]
        states = tower.norm(states)[None]
        for layer in tower.layers:
            states = layer(states)
        torch.testing.assert_close(result[index], states[0].mean(dim=0), atol=1e-5, rtol=1e-4)


def test_nano_has_its_own_test_size_and_blocks(encoder: NanoEncoder):
    assert not encoder.fits_published_sizes
    assert len(list(encoder.checkpointed_blocks())) == sum(count for _, _, count, _, _ in nano.STAGES)
