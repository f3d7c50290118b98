"""Mask2Former's backbones: torchvision's Swin and ResNet, as feature maps at strides 4, 8, 16 and 32."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Stages = tuple[int, int, int, int]  # one number per stage
Levels = tuple[Float[Tensor, "batch _ _ _"], ...]


class SwinBackbone(nn.Module):
    """Swin transformer, with a norm after each stage.

    Attributes:
        channels: of the four feature maps.
    """

    def __init__(self, *, width: int, depths: Stages, heads: Stages, window: int, mlp_ratio: float) -> None:
        super().__init__()
        from torchvision.models.swin_transformer import SwinTransformer

        swin = SwinTransformer(
            patch_size=[4, 4],
            embed_dim=width,
            depths=list(depths),
            num_heads=list(heads),
            window_size=[window, window],
            mlp_ratio=mlp_ratio,
            stochastic_depth_prob=0.0,
            num_classes=1,
        )
        self.channels: Stages = (width, 2 * width, 4 * width, 8 * width)
        self.features: Any = swin.features  # patches, then stages and mergings in turn
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Levels:
        """Compute the four feature maps."""
        patches, *stages = self.features
        tokens = patches(pixels)  # channels last
        levels = []
        for index, part in enumerate(stages):
            tokens = part(tokens)
            if index % 2 == 0:  # a stage; the others merge patches
                levels.append(self.norms[index // 2](tokens).permute(0, 3, 1, 2).contiguous())
        return tuple(levels)


class ResNetBackbone(nn.Module):
    """ResNet with bottleneck blocks, whose 3×3 convolution has the stride.

    Attributes:
        channels: of the four feature maps.
    """

    channels: Stages = (256, 512, 1024, 2048)

    def __init__(self, *, depths: Stages) -> None:
        super().__init__()
        from torchvision.models.resnet import Bottleneck, ResNet

        resnet: Any = ResNet(Bottleneck, list(depths), num_classes=1)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Levels:
        """Compute the four feature maps."""
        pixels = self.stem(pixels)
        levels: list[torch.Tensor] = []
        for stage in self.stages:
            pixels = stage(pixels)
            levels.append(pixels)
        return tuple(levels)
