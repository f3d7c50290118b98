"""Image branch: images are read, resized and run through the network, once for all vocabularies."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from ovrcoat.config import InferenceConfig
from ovrcoat.data import transforms
from ovrcoat.data.image_loader import encode_in_order
from ovrcoat.data.images import ImageInput, read_image, warn_of_notes
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.prompt import PromptEncoder
from ovrcoat.system.devices import device_lock
from ovrcoat.system.fingerprints import module_fingerprint


class ImageEncoder:
    """Encodes images with one network at one test resolution; may be used from several threads.

    Args:
        network: on the device that it runs on, in eval mode.
        settings: give the test resolution.
        prompt_encoder: passed on to encoded images.
    """

    def __init__(
        self, network: SegmentationNetwork, *, settings: InferenceConfig, prompt_encoder: PromptEncoder
    ) -> None:
        self._network = network
        self._test_size = (settings.short_side, settings.max_long_side)
        self._prompt_encoder = prompt_encoder

    def encode(self, image: ImageInput) -> EncodedImage:
        """Encode one image; see `Segmenter.encode`."""
        prepared = self._prepare(image)
        warn_of_notes(prepared.image.notes, prepared.image.name)
        (encoded,) = self._encode([prepared])
        return encoded

    def encode_many(
        self, images: Iterable[ImageInput], *, batch_size: int
    ) -> Generator[tuple[ImageInput, EncodedImage | ImageError], None, None]:
        """Encode many images; see `Segmenter.encode_many`."""
        return encode_in_order(images, self._prepare, encode=self._encode, batch_size=batch_size)

    def check_compatible(self, image: EncodedImage) -> EncodedImage:
        """Check that an image fits this network and test resolution; return it, bound to the network if
        unpickled.

        Raises:
            ConfigError: it was encoded by another network, or at another test resolution.
        """
        if image.network is None and image.model_key == self._model_key:
            image = replace(image, network=self._network, prompt_encoder=self._prompt_encoder)
        if image.network is not self._network:
            raise ConfigError("this image was encoded by another network; encode it with this segmenter")
        if image.test_size != self._test_size:
            raise ConfigError(
                f"this image was encoded at test resolution {image.test_size}, but this segmenter uses "
                f"{self._test_size}; encode it with this segmenter"
            )
        return image

    @cached_property
    def _model_key(self) -> str:
        """The network's fingerprint, for images that were pickled by another process."""
        return module_fingerprint(self._network, None)

    def _prepare(self, image: ImageInput) -> transforms.PreparedImage:
        """Read and resize an image; may run in another thread."""
        short_side, max_long_side = self._test_size
        return transforms.prepare(
            read_image(image),
            short_side=short_side,
            max_long_side=max_long_side,
            stride=self._network.encoder.stride,
        )

    @torch.inference_mode()
    def _encode(self, images: Sequence[transforms.PreparedImage]) -> list[EncodedImage]:
        """Encode images of one padded size."""
        device, stride = self._network.encoder.device, self._network.encoder.stride
        batch = transforms.batch_images([image.resized for image in images], stride=stride, device=device)
        with device_lock(device):
            encoding = self._network(batch, keep_clip_features=True)
        return [
            EncodedImage(
                network=self._network,
                prompt_encoder=self._prompt_encoder,
                encoding=encoding.select(index),
                sizes=ImageSizes(
                    padded=batch.padded_size, valid=valid, output=prepared.image.pixels.shape[:2]
                ),
                image=prepared.image,
                test_size=self._test_size,
            )
            for index, (prepared, valid) in enumerate(zip(images, batch.valid_sizes, strict=True))
        ]
