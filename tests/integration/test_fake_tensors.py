"""The image branch at full size with PyTorch's fake tensors, which have a device and a shape but no values.

A network of ConvNeXt-Large's size needs neither its memory nor its time. PyTorch's own rules for CUDA decide
about devices, dtypes and autocast. Code that depends on values is tested in test_simulated_device.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ovrcoat.config import MaskDecoderConfig, ModelConfig, NanoConfig, TextTransferConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.postprocessing.coat import adjust_void, clip_confidence
from ovrcoat.structures import CategoryEmbeddings, ImageBatch
from ovrcoat.training.forward import predict

pytestmark = pytest.mark.slow
CATEGORIES, NAMES = 133, 254
CONFIGS = {
    "nano": ModelConfig(
        encoder=NanoConfig(), mask_decoder=MaskDecoderConfig(selected_queries=60, local_masks=True)
    ),
    "convnext_large": ModelConfig(encoder=CLIP_ENCODERS["convnext_large_d_320"]),
    "resnet50": ModelConfig(encoder=CLIP_ENCODERS["RN50"]),
    "maft+": ModelConfig(encoder=CLIP_ENCODERS["convnext_large_d_320"], text_transfer=TextTransferConfig()),
}


@contextmanager
def on_fake_cuda(name: str, *, dtype: torch.dtype = torch.float32) -> Iterator[SegmentationNetwork]:
    """A network whose weights are fake tensors on CUDA, in a block in which all tensors are fake."""
    with torch.device("meta"):
        network = build_network(CONFIGS[name]).eval()
    network.set_image_dtype(dtype)
    weights = network.state_dict()
    with (
        FakeTensorMode(allow_non_fake_inputs=True),  # the meta tensors that are replaced
        # autocast asks
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
    ):
        state = {
            key: torch.empty(weight.shape, dtype=weight.dtype, device="cuda")
            for key, weight in weights.items()
        }
        network.load_state_dict(state, assign=True)
        yield network


def batch(count: int) -> ImageBatch:
    pixels = torch.zeros(count, 3, 640, 960, device="cuda")
    return ImageBatch(pixels=pixels, valid_sizes=((640, 960),) * count)


def categories(network: SegmentationNetwork) -> CategoryEmbeddings:
    return CategoryEmbeddings.shared(
        torch.zeros(NAMES, network.encoder.embedding_dim, device="cuda"),
        torch.zeros(NAMES, dtype=torch.long, device="cuda"),
        CATEGORIES,
    )


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("nano", torch.float32),
        ("convnext_large", torch.bfloat16),
        ("resnet50", torch.bfloat16),
        ("maft+", torch.float16),
    ],
)
def test_the_image_branch_and_the_classifiers_stay_on_the_device(name: str, dtype: torch.dtype):
    with on_fake_cuda(name, dtype=dtype) as network, torch.no_grad():
        encoding = network(batch(2), keep_clip_features=True)
        predictions = network.classify(encoding, categories(network))
        confidence = clip_confidence(predictions.out_vocab_logits[0].float())
        void = adjust_void(predictions.void_logits[0].float().sigmoid(), confidence, trust=0.5)
    decoder = CONFIGS[name].mask_decoder
    queries = decoder.queries + decoder.selected_queries
    assert encoding.proposals.mask_logits.shape == (2, queries, 160, 240)
    assert encoding.proposals.mask_logits.dtype == dtype
    assert predictions.in_vocab_logits.shape == (2, queries, CATEGORIES)
    outputs = (encoding.proposals.mask_logits, predictions.out_vocab_logits, predictions.valid_mask, void)
    assert {tensor.device for tensor in outputs if tensor is not None} == {torch.device("cuda:0")}


@pytest.mark.parametrize("name", ["nano", "convnext_large"])
def test_the_forward_pass_of_training_gives_float32_logits_under_autocast(name: str):
    with on_fake_cuda(name) as network:
        network.train()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            predictions = predict(network, batch(2), categories(network), with_clip=True)
    assert predictions.clip_logits is not None
    assert predictions.clip_logits.dtype == torch.float32
    assert {layer.mask_logits.dtype for layer in predictions.layers} == {torch.bfloat16}
    assert {layer.category_logits.dtype for layer in predictions.layers} == {torch.float32}
    assert {layer.mask_logits.device for layer in predictions.layers} == {torch.device("cuda:0")}


def test_a_tensor_of_the_wrong_device_is_found():
    """The tests of this file can fail."""
    with on_fake_cuda("nano") as network, torch.no_grad():
        network.mask_decoder.query_features = nn.Parameter(
            torch.zeros_like(network.mask_decoder.query_features, device="cpu")
        )
        images = batch(1)
        with pytest.raises(RuntimeError, match="two devices"):
            network(images)
