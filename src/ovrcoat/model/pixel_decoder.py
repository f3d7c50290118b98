"""Pixel decoder: encoder features to mask features at stride 4 and multi-scale features for the mask decoder.

Deformable attention mixes strides 32, 16 and 8. One feature-pyramid step adds stride 4 (Mask2Former, section
3.2).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.deformable_attention import DeformableAttention
from ovrcoat.model.tiles import apply_in_tiles
from ovrcoat.model.transformer import NORM_EPSILON, FeedForwardLayer, sine_positions
from ovrcoat.structures import EncoderFeatures, PixelFeatures, Size

GROUPS = 32  # of every GroupNorm in the pixel decoder (Mask2Former)


class DeformableLayer(nn.Module):
    """Deformable self-attention over all levels, then a feed-forward layer (post-norm)."""

    def __init__(self, channels: int, *, heads: int, levels: int, points: int, feed_forward: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels, heads=heads, levels=levels, points=points)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.feed_forward = FeedForwardLayer(channels, hidden=feed_forward)

    def forward(
        self,
        tokens: Float[Tensor, "batch token channel"],
        *,
        positions: Float[Tensor, "1 token channel"],
        reference_points: Float[Tensor, "token 2"],
        sizes: tuple[Size, ...],
    ) -> Float[Tensor, "batch token channel"]:
        """Update the tokens. Positions are added to the queries, but not to the values.

        Args:
            tokens: of all levels, one level after the other.
            positions: encoding of each token's position and level.
            reference_points: (x, y) of each token as fractions of the padded image.
            sizes: (height, width) of each level.
        """
        attended = self.attention(tokens + positions, tokens, reference_points=reference_points, sizes=sizes)
        hidden = self.feed_forward.linear1.out_features
        return apply_in_tiles(
            lambda tile: self.feed_forward(self.norm(tile)), tokens + attended, width=hidden
        )


class PixelDecoder(nn.Module):
    """Turns the encoder's feature maps at strides 4, 8, 16 and 32 into `PixelFeatures`."""

    def __init__(
        self,
        encoder_channels: tuple[int, int, int, int],
        *,
        channels: int,
        mask_channels: int,
        layers: int,
        heads: int,
        points: int,
        feed_forward: int,
    ) -> None:
        super().__init__()
        stride4, *coarser = encoder_channels
        coarse_first = coarser[::-1]
        self.input_projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 1), nn.GroupNorm(GROUPS, channels))
            for width in coarse_first
        )
        self.level_embedding = nn.Parameter(torch.empty(len(coarse_first), channels))
        self.layers = nn.ModuleList(
            DeformableLayer(
                channels, heads=heads, levels=len(coarse_first), points=points, feed_forward=feed_forward
            )
            for _ in range(layers)
        )
        self.lateral = nn.Sequential(
            nn.Conv2d(stride4, channels, 1, bias=False), nn.GroupNorm(GROUPS, channels)
        )
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, channels), nn.ReLU()
        )
        self.mask_projection = nn.Conv2d(channels, mask_channels, 1)
        self._initialize()

    def _initialize(self) -> None:
        nn.init.normal_(self.level_embedding)
        convolutions = [part for part in self.modules() if isinstance(part, nn.Conv2d)]
        *inputs, lateral, output, mask_projection = convolutions
        for convolution in inputs:
            nn.init.xavier_uniform_(convolution.weight)
        for convolution in (lateral, output, mask_projection):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        for convolution in convolutions:
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def forward(self, features: EncoderFeatures) -> PixelFeatures:
        """Mix the three coarse levels, then add stride 4."""
        stride4, *coarser = features.levels
        maps = [
            projection(level) for projection, level in zip(self.input_projections, coarser[::-1], strict=True)
        ]
        mixed = self.mix(maps)
        # The levels are views, whose memory format F.interpolate does not recognize. On a CPU it takes three
        # times as long as with a copy, and so does the sum.
        finest = mixed[-1].clone(memory_format=torch.channels_last)
        upsampled = F.interpolate(finest, size=stride4.shape[-2:], mode="bilinear", align_corners=False)
        mask_features = self.mask_projection(self.output(self.lateral(stride4) + upsampled))
        return PixelFeatures(mask_features=mask_features, multi_scale_features=mixed)

    def mix(
        self, maps: list[Float[Tensor, "batch channel _ _"]]
    ) -> tuple[Float[Tensor, "batch channel _ _"], ...]:
        """Apply the deformable layers to the tokens of all levels, coarse first. Sizes do not change."""
        sizes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        channels = tokens.shape[-1]
        positions = torch.cat(
            [
                sine_positions(*size, channels=channels, like=tokens).flatten(2).transpose(1, 2) + embedding
                for size, embedding in zip(sizes, self.level_embedding, strict=True)
            ],
            dim=1,
        )
        centers = torch.cat([pixel_centers(size, device=tokens.device) for size in sizes])
        for layer in self.layers:
            tokens = layer(tokens, positions=positions, reference_points=centers, sizes=sizes)
        counts = [height * width for height, width in sizes]
        return tuple(
            torch.unflatten(level.transpose(1, 2), 2, size)
            for level, size in zip(tokens.split_with_sizes(counts, dim=1), sizes, strict=True)
        )


def pixel_centers(size: Size, *, device: torch.device) -> Float[Tensor, "token 2"]:
    """Return (x, y) of every pixel's center as fractions of width and height, row-major.

    Always in float32: in bfloat16, pixels after the 128th would be off by half a pixel.
    """
    height, width = size
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1).flatten(0, 1)
