"""A whole network of a few thousand random weights, for tests that need one."""

import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.mask_pooling import mask_pool
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.pixel_decoder import PixelDecoder
from ovrcoat.model.query_selection import QuerySelector
from ovrcoat.model.text_classifier import TextClassifier
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

SEED = 15  # chosen so that COAT saves a mask of the fixture `image_pixels`
EMBEDDING, CHANNELS, QUERIES = 16, 32, 10  # GroupNorm in the pixel decoder needs 32 channels


class TinyEncoder(Encoder):
    """Convolutions instead of CLIP. Each text has a fixed random embedding. Records its inputs."""

    fits_published_sizes = False

    def __init__(self) -> None:
        super().__init__()
        self.channels = (8, 8, 16, 16)
        self.embedding_dim = EMBEDDING
        self.visual_trunk = nn.ModuleList(
            nn.Conv2d(inputs, outputs, step, stride=step)
            for inputs, outputs, step in ((3, 8, 4), (8, 8, 2), (8, 16, 2), (16, 16, 2))
        )
        self.projection = nn.Linear(16, EMBEDDING)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.batch_sizes: list[int] = []
        self.texts: list[str] = []

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        self.batch_sizes.append(len(pixels))
        levels = [pixels]
        for step in self.visual_trunk:
            levels.append(step(levels[-1]).tanh())
        _, stride4, stride8, stride16, stride32 = levels
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=stride32)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        size = clip_features.shape[-2:]
        inside = F.interpolate(mask_logits.detach(), size=size, mode="bilinear", align_corners=False) > 0
        features = clip_features.to(self.projection.weight.dtype)
        pooled = mask_pool(features, inside.to(features.dtype))
        return MaskEmbeddings(embeddings=self.projection(pooled), valid_mask=inside.flatten(2).any(-1))

    def embed_features(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        return self.projection(features.to(self.projection.weight.dtype))

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        self.texts.extend(texts)
        rows = []
        for text in texts:
            generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
            rows.append(torch.randn(EMBEDDING, generator=generator))
        return torch.stack(rows).to(self.device)

    def text_length(self, text: str) -> tuple[int, int]:
        return len(text.split()), 12


def make_network(*, selected_queries: int = 0, local_masks: bool = False) -> SegmentationNetwork:
    """Return the same network at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder = TinyEncoder()
        selector = (
            QuerySelector(CHANNELS, count=selected_queries, local_masks=local_masks)
            if selected_queries
            else None
        )
        network = SegmentationNetwork(
            encoder,
            PixelDecoder(
                encoder.channels,
                channels=CHANNELS,
                mask_channels=CHANNELS,
                layers=1,
                heads=2,
                points=2,
                feed_forward=32,
            ),
            mask_decoder=MaskDecoder(
                channels=CHANNELS,
                mask_channels=CHANNELS,
                queries=QUERIES,
                layers=3,
                heads=2,
                feed_forward=32,
                selector=selector,
                embedding_dim=EMBEDDING,
            ),
            text_classifier=TextClassifier(EMBEDDING),
        )
        nn.init.normal_(network.text_classifier.void_embedding)
        network.text_classifier.logit_scale.data.fill_(1.0)
        heads = network.mask_decoder.mask_head, network.mask_decoder.embedding_head
        for weight in (weight for head in heads for weight in head.parameters() if weight.ndim > 1):
            nn.init.normal_(
                weight, std=2 / weight.shape[1] ** 0.5
            )  # so that the masks differ from each other
    return network.eval()
