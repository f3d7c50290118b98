"""Image branch: images are read, resized and run through the network, once for all vocabularies."""

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.config import InferenceConfig
from ovrcoat.data import transforms
from ovrcoat.data.image_loader import encode_in_order
from ovrcoat.data.images import ImageInput, LoadedImage, read_image, warn_of_notes
from ovrcoat.data.mask_files import MaskFiles
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.model.mixed_network import AnyNetwork, MixedNetwork, mask_network, names_network
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.postprocessing.upsampling import ImageSizes, binary_mask
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.mask_crops import embed_crops
from ovrcoat.segmentation.prompt import PromptEncoder
from ovrcoat.segmentation.user_masks import MASK_STRIDE, encode_user_masks
from ovrcoat.structures import Encoding, ImageBatch
from ovrcoat.system.devices import device_lock
from ovrcoat.system.fingerprints import module_fingerprint

OUTSIDE = -10.0  # mask logit of padding: certainly not in the mask
# the encoding of an image, the sizes of its masks, and those of CLIP's input
_Found = tuple[Encoding, ImageSizes, ImageSizes]


class ImageEncoder:
    """Encodes images with one network at one test resolution; may be used from several threads.

    Args:
        network: on the device that it runs on, in eval mode.
        settings: give the test resolution, and what CLIP embeds of a mask.
        prompt_encoder: passed on to encoded images.
        mask_files: masks to name instead of those of the network.
    """

    def __init__(
        self,
        network: AnyNetwork,
        *,
        settings: InferenceConfig,
        prompt_encoder: PromptEncoder,
        mask_files: MaskFiles | None = None,
    ) -> None:
        self._network = network
        self._test_size = (settings.short_side, settings.max_long_side)
        self._classify_by = settings.classify_by
        self._prompt_encoder = prompt_encoder
        self._mask_files = mask_files

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
            ConfigError: it was encoded by another network, or with another setting that encoding depends on.
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
        if image.classify_by != self._classify_by:
            raise ConfigError(
                f"this image was encoded for classification by {image.classify_by}, but this segmenter uses "
                f"{self._classify_by}; encode it with this segmenter"
            )
        return image

    @cached_property
    def _model_key(self) -> str:
        """The network's fingerprint, for images that were pickled by another process."""
        return module_fingerprint(self._network, None)

    def _prepare(self, source: ImageInput) -> transforms.PreparedImage:
        """Read and resize an image, and read its masks from a file; may run in another thread."""
        image = read_image(source)
        names = None
        if isinstance(self._network, MixedNetwork):
            short_side, max_long_side = self._network.names_test_size
            stride = self._network.encoder.stride
            names = transforms.prepare(
                image, short_side=short_side, max_long_side=max_long_side, stride=stride
            )
        short_side, max_long_side = self._test_size
        prepared = transforms.prepare(
            image,
            short_side=short_side,
            max_long_side=max_long_side,
            stride=mask_network(self._network).stride,
        )
        files = self._mask_files
        masks = None if files is None else files.read(image.name, image.pixels.shape[:2])
        return replace(prepared, for_names=names, user_masks=masks)

    @torch.inference_mode()
    def _encode(self, images: Sequence[transforms.PreparedImage]) -> list[EncodedImage]:
        """Encode images of one padded size."""
        with device_lock(self._network.encoder.device):
            if self._mask_files is not None:
                found = self._encode_files(images)
            elif isinstance(self._network, MixedNetwork):
                found = self._encode_mixed(images, self._network)
            else:
                assert isinstance(self._network, SegmentationNetwork)  # an encoder alone needs other masks
                found = self._encode_own(images, self._network)
            return [
                EncodedImage(
                    network=self._network,
                    prompt_encoder=self._prompt_encoder,
                    encoding=self._classified_by(encoding, sizes, prepared.image),
                    sizes=sizes,
                    clip_sizes=clip_sizes,
                    image=prepared.image,
                    test_size=self._test_size,
                    classify_by=self._classify_by,
                )
                for prepared, (encoding, sizes, clip_sizes) in zip(images, found, strict=True)
            ]

    def _encode_own(
        self, images: Sequence[transforms.PreparedImage], network: SegmentationNetwork
    ) -> list[_Found]:
        """Masks and names by the same network."""
        batch = self._batch(images)
        encoding = network(batch, keep_clip_features=True)
        sizes = _image_sizes(images, batch)
        return [(encoding.select(index), sizes[index], sizes[index]) for index in range(len(images))]

    def _encode_mixed(
        self, images: Sequence[transforms.PreparedImage], network: MixedNetwork
    ) -> list[_Found]:
        """Masks by one network, names by the encoder of another."""
        batch, names_batch = self._batch(images), self._batch([image.for_names or image for image in images])
        proposals = network.masks.propose(batch)
        clip_features = network.encoder(names_batch).clip_features
        all_sizes = zip(_image_sizes(images, batch), _image_sizes(images, names_batch), strict=True)
        found = []
        for index, (sizes, clip_sizes) in enumerate(all_sizes):
            masks = proposals.select(index)
            encoding = network.names.embed(
                masks,
                clip_features[index : index + 1].clone(),
                mask_logits=fit_mask_logits(masks.mask_logits, sizes, clip_sizes),
            )
            found.append((encoding, sizes, clip_sizes))
        return found

    def _encode_files(self, images: Sequence[transforms.PreparedImage]) -> list[_Found]:
        """Masks from files."""
        batch = self._batch(images)
        network = names_network(self._network)
        clip_features = network.encoder(batch).clip_features
        found = []
        for index, clip_sizes in enumerate(_image_sizes(images, batch)):
            user_masks = images[index].user_masks
            assert user_masks is not None  # `_prepare` reads them
            encoding, sizes = encode_user_masks(
                network,
                clip_features[index : index + 1].clone(),
                user_masks,
                image=images[index].image,
                clip_sizes=clip_sizes,
                classify_by=self._classify_by,
            )
            found.append((encoding, sizes, clip_sizes))
        return found

    def _classified_by(self, encoding: Encoding, sizes: ImageSizes, image: LoadedImage) -> Encoding:
        """Replace the pooled embeddings of a network's masks by those of crops, if requested."""
        if self._classify_by == "pooling" or encoding.objectness is not None:
            return encoding
        masks = (binary_mask(logits, sizes) for logits in encoding.proposals.mask_logits[0])
        clip = embed_crops(self._network.encoder, image.pixels, masks, classify_by=self._classify_by)
        return replace(encoding, clip=clip)

    def _batch(self, images: Sequence[transforms.PreparedImage]) -> ImageBatch:
        stride, device = images[0].stride, self._network.encoder.device
        return transforms.batch_images([image.resized for image in images], stride=stride, device=device)


def _image_sizes(images: Sequence[transforms.PreparedImage], batch: ImageBatch) -> list[ImageSizes]:
    return [
        ImageSizes(padded=batch.padded_size, valid=valid, output=prepared.image.pixels.shape[:2])
        for prepared, valid in zip(images, batch.valid_sizes, strict=True)
    ]


def fit_mask_logits(
    mask_logits: Float[Tensor, "1 query _ _"], sizes: ImageSizes, target: ImageSizes
) -> Float[Tensor, "1 query _ _"]:
    """Return mask logits for the same image at another test resolution, as its own decoder would give them.

    Args:
        mask_logits: at a quarter of `sizes.padded`.
        sizes: of the network that proposed the masks.
        target: of the network that names them; the result has a quarter of `target.padded`.
    """
    if (sizes.padded, sizes.valid) == (target.padded, target.valid):
        return mask_logits
    grid = [side // MASK_STRIDE for side in target.padded]
    filled = [-(-side // MASK_STRIDE) for side in target.valid]
    covered = [
        mask_logits.shape[2 + axis] * sizes.valid[axis] / sizes.padded[axis] for axis in (0, 1)
    ]  # cells of the image, without padding
    cropped = mask_logits[..., : math.ceil(covered[0]), : math.ceil(covered[1])]
    resized = F.interpolate(cropped.float(), size=filled, mode="bilinear", antialias=True)
    padding = (0, grid[1] - filled[1], 0, grid[0] - filled[0])
    return F.pad(resized, padding, value=OUTSIDE).to(mask_logits.dtype)
