import pytest
import torch

from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles

from .scenes import plain_upsample

WAYS = {
    "up": ImageSizes(padded=(64, 96), valid=(50, 90), output=(77, 131)),
    "down": ImageSizes(padded=(64, 96), valid=(63, 95), output=(20, 33)),
    "far down": ImageSizes(padded=(64, 96), valid=(64, 96), output=(3, 2)),
    "as it is": ImageSizes(padded=(64, 96), valid=(64, 96), output=(64, 96)),
    "mask size": ImageSizes(padded=(16, 24), valid=(16, 24), output=(16, 24)),
    "one pixel": ImageSizes(padded=(32, 32), valid=(1, 1), output=(1, 1)),
    "wide strip": ImageSizes(padded=(32, 320), valid=(1, 320), output=(3, 2000)),
    "tall strip": ImageSizes(padded=(320, 32), valid=(320, 1), output=(2000, 3)),
}


def logits_for(sizes: ImageSizes, queries: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    stride = 1 if sizes.padded == (16, 24) else 4
    return 10 * torch.randn(queries, sizes.padded[0] // stride, sizes.padded[1] // stride)


def joined(mask_logits: torch.Tensor, sizes: ImageSizes, **options: int) -> torch.Tensor:
    tiles = list(upsample_tiles(mask_logits, sizes, **options))
    covered = [row for rows, _ in tiles for row in range(rows.start, rows.stop)]
    assert covered == list(range(sizes.output[0]))
    return torch.cat([tile for _, tile in tiles], dim=1)


@pytest.mark.parametrize("sizes", WAYS.values(), ids=WAYS)
def test_it_equals_the_plain_resizes(sizes: ImageSizes):
    mask_logits = logits_for(sizes)
    plain = plain_upsample(mask_logits, sizes)
    torch.testing.assert_close(joined(mask_logits, sizes), plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", WAYS.values(), ids=WAYS)
def test_the_height_of_a_tile_changes_no_bit(sizes: ImageSizes):
    mask_logits = logits_for(sizes)
    whole = joined(mask_logits, sizes, tile_bytes=2**40)
    assert torch.equal(joined(mask_logits, sizes, tile_bytes=1), whole)
    assert torch.equal(joined(mask_logits, sizes, tile_bytes=4 * 3 * sizes.output[1] * 5), whole)


def test_rows_far_down_stay_exact():
    # a position of some thousand pixels keeps few bits for the weight: the rounding must be PyTorch's
    sizes = ImageSizes(padded=(4096, 32), valid=(4000, 8), output=(9001, 8))
    mask_logits = logits_for(sizes, 1)
    torch.testing.assert_close(
        joined(mask_logits, sizes), plain_upsample(mask_logits, sizes), rtol=0, atol=1e-5
    )


def test_tiles_keep_to_the_budget():
    sizes = WAYS["up"]
    budget = 4 * 5 * 131 * 7  # seven rows of five maps
    heights = [
        rows.stop - rows.start for rows, _ in upsample_tiles(logits_for(sizes, 5), sizes, tile_bytes=budget)
    ]
    assert max(heights) == 7
    for_channels = upsample_tiles(logits_for(sizes, 5), sizes, channels=35, tile_bytes=budget)
    assert {tile.shape[1] for _, tile in for_channels} == {1}


def test_half_precision_comes_out_single_and_the_input_stays():
    sizes = WAYS["mask size"]
    mask_logits = logits_for(sizes)
    before = mask_logits.clone()
    for _, tile in upsample_tiles(mask_logits, sizes):
        tile.zero_()
    assert torch.equal(mask_logits, before)
    assert joined(mask_logits.half(), sizes).dtype == torch.float32
