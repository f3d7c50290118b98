"""EncodedImage: an image after the network, ready for any number of vocabularies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack, overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int32, UInt8

from ovrcoat.choices import ClassifyBy, Task
from ovrcoat.data.images import LoadedImage
from ovrcoat.data.mask_files import UserMasks
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.model.mixed_network import AnyNetwork, names_network
from ovrcoat.postprocessing.mask_overlaps import Overlaps, mask_overlaps
from ovrcoat.postprocessing.mask_status import MaskOutcome
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.results.segment import Segment
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.postprocess import AnyResult, explain, panoptic_with_outcomes, postprocess
from ovrcoat.segmentation.prompt import PromptEncoder, SegmentationPrompt, SegmentOptions
from ovrcoat.segmentation.user_masks import check_masks, check_objectness, encode_user_masks
from ovrcoat.structures import Encoding
from ovrcoat.system.devices import device_lock
from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.vocabulary import VocabularyInput


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EncodedImage:
    """An image after the network; segmenting it again does not run the encoder.

    A pickled image leaves the network out: pass it to a segmenter of the same model after loading it.

    It holds the mask logits of all queries on the network's device (about 20 MB with nano and 55 MB with 250
    queries at an aspect ratio of 4:3), CLIP's feature map, and the image itself.

    Attributes:
        network: the network that encoded it; None after unpickling.
        prompt_encoder: encodes the vocabularies that `segment` and `explain` receive; None after unpickling.
        encoding: masks and embeddings, a batch of one.
        sizes: sizes of the padded input, of the image inside it, and of the image.
        clip_sizes: the same of the input of the encoder that names the masks.
        image: the upright image and its name.
        test_size: short side and maximum long side, in pixels, that the image was resized to.
        classify_by: what CLIP embeds of a mask; see `InferenceConfig`.
        model_key: fingerprint of the network, of an unpickled image.
    """

    network: AnyNetwork | None
    prompt_encoder: PromptEncoder | None
    encoding: Encoding
    sizes: ImageSizes
    clip_sizes: ImageSizes
    image: LoadedImage
    test_size: tuple[int, int]
    classify_by: ClassifyBy
    model_key: str | None = None

    def __repr__(self) -> str:
        """Return one line: the image and its size."""
        height, width = self.sizes.output
        name = f"{self.name}, " if self.name else ""
        return f"<EncodedImage {name}{width} × {height} pixels>"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle everything but the network, which is represented by a fingerprint.

        This is not `__getstate__`, which Python before 3.11.4 replaces in frozen dataclasses with slots.
        """
        key = self.model_key if self.network is None else module_fingerprint(self.network, None)
        state = {
            "encoding": self.encoding,
            "sizes": self.sizes,
            "clip_sizes": self.clip_sizes,
            "image": self.image,
            "test_size": self.test_size,
            "classify_by": self.classify_by,
            "model_key": key,
        }
        return _without_network, (state,)

    @property
    def pixels(self) -> UInt8[np.ndarray, "height width 3"]:
        """The upright RGB image, 0..255."""
        return self.image.pixels

    @property
    def name(self) -> str | None:
        """The file name of the image, if it has one."""
        return self.image.name

    @overload
    def segment(
        self,
        vocabulary: VocabularyInput,
        *,
        task: Literal["panoptic"] = ...,
        **options: Unpack[SegmentOptions],
    ) -> PanopticResult: ...
    @overload
    def segment(
        self, vocabulary: VocabularyInput, *, task: Literal["semantic"], **options: Unpack[SegmentOptions]
    ) -> SemanticResult: ...
    @overload
    def segment(
        self, vocabulary: VocabularyInput, *, task: Literal["instance"], **options: Unpack[SegmentOptions]
    ) -> InstanceResult: ...
    @overload
    def segment(
        self, vocabulary: VocabularyInput, *, task: Task, **options: Unpack[SegmentOptions]
    ) -> AnyResult: ...
    def segment(
        self, vocabulary: object, *, task: Task = "panoptic", **options: Unpack[SegmentOptions]
    ) -> AnyResult:
        """Segment this image. Arguments, warnings and errors are those of `Segmenter.segment`."""
        prompt = self._bound()[1].encode(vocabulary, task=task, **options)
        prompt.warn()
        return self.predict(prompt)

    def explain(self, vocabulary: VocabularyInput, **options: Unpack[SegmentOptions]) -> Explanation:
        """Segment this image (panoptic), and explain every mask; see `Segmenter.explain`."""
        prompt = self._bound()[1].encode(vocabulary, **options)
        prompt.warn()
        return self.predict_explained(prompt)

    @torch.inference_mode()
    def with_masks(self, masks: object, objectness: object = None) -> "EncodedImage":
        """Return this image with your masks in place of those of the network. CLIP alone names them.

        Results, COAT and explanations then work as for masks of the network. The encoder does not run again.

        Args:
            masks: array or tensor of shape (N, height, width) at the size of the upright image, bool or
                integer; every nonzero pixel belongs to the mask. Masks may overlap.
            objectness: probability that each mask is an object, 0 to 1, such as the predicted IoU of Segment
                Anything. None: 1.

        Raises:
            ImageError: masks or objectness have the wrong shape, dtype or range, or a mask is empty.
            ConfigError: this image was unpickled; pass it to a segmenter first.
        """
        network, _ = self._bound()
        inside = check_masks(masks, self.sizes.output)
        user_masks = UserMasks(inside, check_objectness(objectness, len(inside)))
        assert self.encoding.clip_features is not None  # `ImageEncoder` keeps them
        with device_lock(network.encoder.device):
            encoding, sizes = encode_user_masks(
                names_network(network),
                self.encoding.clip_features,
                user_masks,
                image=self.image,
                clip_sizes=self.clip_sizes,
                classify_by=self.classify_by,
            )
        return replace(self, encoding=encoding, sizes=sizes)

    @torch.inference_mode()
    def predict(self, prompt: SegmentationPrompt) -> AnyResult:
        """Return the result of a prompt that a segmenter of the same network encoded (`Segmenter.prompt`)."""
        network, _ = self._bound()
        with device_lock(network.encoder.device):
            predictions = network.classify(self.encoding, prompt.embeddings)
            return postprocess(predictions, self.sizes, self.image, prompt=prompt)

    @torch.inference_mode()
    def predict_with_outcomes(
        self, prompt: SegmentationPrompt
    ) -> tuple[PanopticResult, tuple[MaskOutcome, ...]]:
        """Return the panoptic result of a prompt and the status of every mask, as fast as `predict`.

        Raises:
            ConfigError: the task of the prompt is not "panoptic".
        """
        network = self._network_for_panoptic(prompt)
        with device_lock(network.encoder.device):
            predictions = network.classify(self.encoding, prompt.embeddings)
            return panoptic_with_outcomes(predictions, self.sizes, self.image, prompt=prompt)

    @torch.inference_mode()
    def predict_explained(self, prompt: SegmentationPrompt) -> Explanation:
        """Return the panoptic result of a prompt, and an explanation of every mask.

        Raises:
            ConfigError: the task of the prompt is not "panoptic".
        """
        network = self._network_for_panoptic(prompt)
        with device_lock(network.encoder.device):
            predictions = network.classify(self.encoding, prompt.embeddings)
            return explain(predictions, self.sizes, self.image, prompt=prompt)

    @torch.inference_mode()
    def overlaps(self, region_map: Int32[np.ndarray, "height width"], *, region_count: int) -> Overlaps:
        """Count the pixels that each mask of the decoder shares with given regions.

        Args:
            region_map: region index 0..`region_count` - 1 per pixel of the image; -1 for no region.
            region_count: number of regions.

        Raises:
            ImageError: `region_map` does not have the size of the image.
        """
        if region_map.shape != self.sizes.output:
            raise ImageError(
                f"the region map has shape {region_map.shape}, expected {self.sizes.output}: the height and "
                "width of the upright image"
            )
        return mask_overlaps(
            self.encoding.proposals.mask_logits[0], self.sizes, region_map, region_count=region_count
        )

    @torch.inference_mode()
    def clip_embeddings(self, segments: Sequence[Segment]) -> Float32[np.ndarray, "segment embedding"]:
        """Return CLIP's embedding of the mask of each segment of a panoptic or instance result of this image.

        A stuff segment of several masks has the embedding of the largest one.

        Returns:
            Embeddings of length 1, comparable to CLIP's text embeddings; zeros for a mask that is too small
            for CLIP's feature map.
        """
        queries = torch.tensor([segment.query for segment in segments], dtype=torch.int64)
        clip = self.encoding.clip
        queries = queries.to(clip.embeddings.device)
        embeddings = F.normalize(clip.embeddings[0, queries].float(), dim=-1)
        return (embeddings * clip.valid_mask[0, queries, None]).cpu().numpy()

    def _network_for_panoptic(self, prompt: SegmentationPrompt) -> AnyNetwork:
        if prompt.task != "panoptic":
            raise ConfigError(f"explanations exist for task 'panoptic', not for {prompt.task!r}")
        return self._bound()[0]

    def _bound(self) -> tuple[AnyNetwork, PromptEncoder]:
        if self.network is None or self.prompt_encoder is None:
            raise ConfigError(
                "this encoded image was unpickled and has no network: pass it to a segmenter of the same "
                "model, for example segmenter.segment(encoded, vocabulary)"
            )
        return self.network, self.prompt_encoder


def _without_network(state: dict[str, Any]) -> EncodedImage:
    """Restore a pickled image; it has no network until a segmenter receives it."""
    return EncodedImage(network=None, prompt_encoder=None, **state)
