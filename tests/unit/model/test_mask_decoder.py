import inspect

import pytest
import torch
from torch.nn import functional as F

from ovrcoat.model.mask_decoder import MaskDecoder, attention_mask
from ovrcoat.model.query_selection import QuerySelector
from ovrcoat.structures import PixelFeatures


def decoder(
    *, layers: int = 4, queries: int = 5, selected_queries: int = 0, local_masks: bool = False
) -> MaskDecoder:
    torch.manual_seed(0)
    selector = (
        QuerySelector(32, count=selected_queries, local_masks=local_masks) if selected_queries else None
    )
    return MaskDecoder(
        channels=32,
        mask_channels=8,
        queries=queries,
        layers=layers,
        heads=2,
        feed_forward=16,
        embedding_dim=6,
        selector=selector,
    ).eval()


def pixel_features(batch: int = 1) -> PixelFeatures:
    """Output of the pixel decoder for 64 × 96 pixels."""
    multi_scale_features = tuple(torch.randn(batch, 32, 2 * scale, 3 * scale) for scale in (1, 2, 4))
    return PixelFeatures(
        mask_features=torch.randn(batch, 8, 16, 24), multi_scale_features=multi_scale_features
    )


def test_it_does_not_depend_on_the_vocabulary():
    assert list(inspect.signature(MaskDecoder.forward).parameters) == ["self", "pixels", "every_layer"]


@torch.no_grad()
def test_every_layer_predicts_and_the_last_one_is_the_final():
    module, pixels = decoder(), pixel_features(2)
    (final,) = module(pixels)
    every = module(pixels, every_layer=True)
    assert len(every) == 5
    for proposals in every:
        assert proposals.mask_logits.shape == (2, 5, 16, 24)
        assert proposals.embeddings.shape == (2, 5, 6)
    torch.testing.assert_close(every[-1].mask_logits, final.mask_logits, atol=0, rtol=0)
    torch.testing.assert_close(every[-1].embeddings, final.embeddings, atol=0, rtol=0)
    assert not torch.allclose(every[0].mask_logits, final.mask_logits)


@torch.no_grad()
def test_the_first_prediction_is_of_the_learned_queries():
    module, pixels = decoder(), pixel_features()
    first = module(pixels, every_layer=True)[0]
    normed = module.norm(module.query_features)[None]
    expected = torch.einsum("bqc,bchw->bqhw", module.mask_head(normed), pixels.mask_features)
    torch.testing.assert_close(first.mask_logits, expected)


@torch.no_grad()
def test_images_of_a_batch_do_not_influence_each_other():
    module, both = decoder(), pixel_features(2)
    (together,) = module(both)
    for index in range(2):
        multi_scale_features = tuple(level[index, None] for level in both.multi_scale_features)
        (alone,) = module(
            PixelFeatures(
                mask_features=both.mask_features[index, None], multi_scale_features=multi_scale_features
            )
        )
        close = {"atol": 1e-4, "rtol": 1e-4}
        torch.testing.assert_close(together.mask_logits[index, None], alone.mask_logits, **close)
        torch.testing.assert_close(together.embeddings[index, None], alone.embeddings, **close)


@torch.inference_mode()
def test_one_channels_last_image_gives_the_masks_of_a_batch():
    module = decoder()
    normed, features = torch.randn(2, 5, 32), torch.randn(2, 8, 6, 4).to(memory_format=torch.channels_last)
    both = module.masks(normed, features)
    for image in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(module.masks(normed[image], features[image]), both[image])


@torch.no_grad()
@pytest.mark.parametrize(("layers", "seen"), [(1, {0}), (2, {0, 1}), (3, {0, 1, 2}), (4, {0, 1, 2})])
def test_layers_attend_to_the_levels_in_turn_coarse_first(layers: int, seen: set[int]):
    module, pixels = decoder(layers=layers), pixel_features()
    (before,) = module(pixels)
    for level in range(3):
        multi_scale_features = list(pixels.multi_scale_features)
        multi_scale_features[level] = multi_scale_features[level] + 1
        (after,) = module(
            PixelFeatures(
                mask_features=pixels.mask_features, multi_scale_features=tuple(multi_scale_features)
            )
        )
        assert torch.allclose(before.mask_logits, after.mask_logits) == (level not in seen)


@torch.no_grad()
def test_the_category_head_adds_features_pooled_under_the_mask():
    module, pixels = decoder(), pixel_features()
    normed, mask_logits = torch.randn(1, 5, 32), torch.randn(1, 5, 16, 24)
    mask_logits[0, 0] = -1  # an empty mask
    result = module.embed(normed, mask_logits, pixels)
    for query in range(5):
        inside = mask_logits[0, query] > 0
        under = pixels.mask_features[0][:, inside].mean(dim=1) if inside.any() else torch.zeros(8)
        expected = module.embedding_head(module.pooled_projection(under) + normed[0, query])
        torch.testing.assert_close(result[0, query], expected, atol=1e-5, rtol=1e-4)


def test_no_gradient_flows_through_pooling_masks():
    module, pixels = decoder(), pixel_features()
    mask_logits = torch.randn(1, 5, 16, 24, requires_grad=True)
    normed = torch.randn(1, 5, 32, requires_grad=True)
    module.embed(normed, mask_logits, pixels).sum().backward()
    assert mask_logits.grad is None
    assert normed.grad is not None


def test_no_gradient_flows_through_attention_masks():
    """The embeddings depend on the mask head only through masks, by attention and by pooling."""
    module = decoder(layers=2)
    (proposals,) = module(pixel_features())
    proposals.embeddings.sum().backward()
    assert all(parameter.grad is None for parameter in module.mask_head.parameters())
    assert all(parameter.grad is not None for parameter in module.embedding_head.parameters())


def test_a_query_attends_inside_its_mask():
    mask_logits, level = torch.randn(2, 3, 16, 24), torch.zeros(2, 1, 5, 7)
    allowed = attention_mask(mask_logits, level)
    resized = F.interpolate(mask_logits, size=(5, 7), mode="bilinear", align_corners=False)
    assert allowed.shape == (2, 3, 35)
    assert torch.equal(allowed, (resized >= 0).flatten(2))
    assert 0 < allowed.float().mean() < 1


def test_a_query_with_an_empty_mask_attends_everywhere():
    mask_logits, level = torch.full((1, 2, 8, 8), -1.0), torch.zeros(1, 1, 2, 2)
    mask_logits[0, 1, :4, :4] = 1
    assert attention_mask(mask_logits, level).tolist() == [
        [[True, True, True, True], [True, False, False, False]]
    ]


def test_a_logit_of_zero_is_inside():
    mask_logits, level = torch.full((1, 1, 2, 2), -1.0), torch.zeros(1, 1, 2, 2)
    mask_logits[0, 0, 0, 1] = 0
    assert attention_mask(mask_logits, level).tolist() == [[[False, True, False, False]]]


def test_a_mask_that_vanishes_on_a_coarse_level_attends_everywhere():
    mask_logits, level = torch.full((1, 1, 8, 8), -1.0), torch.zeros(1, 1, 2, 2)
    mask_logits[0, 0, 0, 0] = 1
    assert attention_mask(mask_logits, level).all()


def test_a_selected_query_can_always_attend_to_the_cell_where_it_starts():
    mask_logits, level = torch.full((1, 3, 8, 8), -1.0), torch.zeros(1, 1, 2, 2)
    mask_logits[0, 2, :4, :4] = 1
    assert attention_mask(mask_logits, level, starts=torch.tensor([[3, 1]])).tolist() == [
        [[True, True, True, True], [False, False, False, True], [True, True, False, False]]
    ]


@torch.no_grad()
@pytest.mark.parametrize("local_masks", [False, True])
def test_the_decoder_predicts_masks_of_learned_and_then_of_selected_queries(local_masks: bool):
    module, pixels = decoder(layers=3, selected_queries=4, local_masks=local_masks), pixel_features(2)
    (final,) = module(pixels)
    every = module(pixels, every_layer=True)
    assert final.mask_logits.shape == (2, 9, 16, 24)
    assert final.selection is None
    assert all(proposals.selection is every[0].selection for proposals in every)
    assert every[0].selection.cells.shape == (2, 4)
    torch.testing.assert_close(every[-1].mask_logits, final.mask_logits, atol=0, rtol=0)
    first = torch.einsum(
        "bqc,bchw->bqhw", module.mask_head(module.norm(every[0].selection.features)), pixels.mask_features
    )
    # before training, an extent changes little
    close = {"atol": 0.1, "rtol": 0} if local_masks else {}
    torch.testing.assert_close(every[0].mask_logits[:, 5:], first, **close)


@torch.no_grad()
def test_masks_of_selected_queries_are_limited_to_their_extent():
    module, pixels = decoder(layers=3, selected_queries=4, local_masks=True), pixel_features()
    before = module(pixels, every_layer=True)[0].mask_logits
    module.selector.extent.head.layers[-1].bias[2:] = -4  # half a cell
    first = module(pixels, every_layer=True)[0]
    assert torch.equal(first.mask_logits[:, :5], before[:, :5])
    for mask, cell in zip(first.mask_logits[0, 5:], first.selection.cells[0], strict=True):
        y, x = divmod(int(mask.argmax()), 24)
        row, column = divmod(int(cell), 12)  # at stride 8
        assert abs(y / 2 - row) <= 3
        assert abs(x / 2 - column) <= 3
    assert first.mask_logits[:, 5:].mean() < before[:, 5:].mean() - 10


@torch.no_grad()
def test_each_image_of_a_batch_has_queries_of_its_own():
    module, pixels = decoder(layers=3, selected_queries=4), pixel_features(2)
    both = module(pixels)[0].mask_logits
    second = PixelFeatures(pixels.mask_features[1:], tuple(x[1:] for x in pixels.multi_scale_features))
    torch.testing.assert_close(both[1:], module(second)[0].mask_logits)


def test_without_selected_queries_there_are_no_further_weights():
    names = {name for name, _ in decoder().named_parameters()}
    further = {name for name, _ in decoder(selected_queries=4).named_parameters()} - names
    assert further
    assert all(name.startswith("selector.") for name in further)
    local = {name for name, _ in decoder(selected_queries=4, local_masks=True).named_parameters()}
    assert {name.split(".")[1] for name in local - names - further} == {"extent"}
