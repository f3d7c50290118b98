"""Segmenter: an image and words in, a result out. THE inference path of API, command line and evaluation.

Pixels first (`encode`: the network, once per image), words second (`segment`: a matrix product per
vocabulary).
"""

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Literal, Unpack, overload

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import find_model
from ovrcoat.config import ModelConfig, Number, Task, Trust, adjusted
from ovrcoat.data import transforms
from ovrcoat.data.image_loader import encoded_in_order
from ovrcoat.data.images import LoadedImage, OnError, read_image
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.model.compiling import compile_image_path
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import category_logits
from ovrcoat.postprocessing.mask_overlaps import Overlaps, mask_overlaps
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.segmentation.mask_classification import MaskLabel, check_masks, embed_masks, label_mask
from ovrcoat.segmentation.postprocess import AnyResult, Explanation, answer, explain, score
from ovrcoat.segmentation.prompt import PromptEncoder, SegmentationPrompt, SegmentOptions
from ovrcoat.segmentation.text_cache import TextCache, open_text_cache
from ovrcoat.structures import Encoding, ImageBatch, ScoredMasks
from ovrcoat.system.devices import DtypeName, choose_device, choose_dtype
from ovrcoat.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """An image after the network, ready for any number of vocabularies.

    It keeps the mask logits of all queries on the segmenter's device (4:3: some 20 MB with nano, 55 MB with
    250 queries) and the image itself: let go of it when done.
    """

    segmenter: "Segmenter"
    encoding: Encoding  # a batch of one
    sizes: ImageSizes
    image: LoadedImage

    @property
    def pixels(self) -> UInt8[np.ndarray, "height width 3"]:
        """The upright RGB photo."""
        return self.image.pixels

    @property
    def name(self) -> str | None:
        """The image's file name, if it has one."""
        return self.image.name

    def segment(
        self, vocabulary: object, *, task: Task = "panoptic", **options: Unpack[SegmentOptions]
    ) -> AnyResult:
        """The same as `Segmenter.segment` of this photo."""
        return self.segmenter.segment(self, vocabulary, task=task, **options)

    def explain(self, vocabulary: object, **options: Unpack[SegmentOptions]) -> Explanation:
        """The same as `Segmenter.explain` of this photo."""
        return self.segmenter.explain(self, vocabulary, **options)

    @torch.inference_mode()
    def overlaps(self, region_map: Int32[np.ndarray, "height width"], *, region_count: int) -> Overlaps:
        """How each mask of the decoder overlaps regions of yours, before any word or rule.

        `region_map` has the image's size and holds 0..`region_count` - 1, or -1 where no region is.

        Raises:
            ImageError: it has another size.
        """
        if region_map.shape != self.sizes.output:
            raise ImageError(
                f"the region map has shape {region_map.shape}, expected {self.sizes.output}: the height and "
                "width of the upright image"
            )
        return mask_overlaps(
            self.encoding.proposals.mask_logits[0], self.sizes, region_map, region_count=region_count
        )


class Segmenter:
    """A network, and the text embeddings of the names that it was asked for so far.

    `network` is put on `device` and into eval mode, and its image half into `dtype` (None: left as it is);
    `text_embeddings` are the rows of names known from before, on that device. A `text_cache` is for a network whose
    text tower does not change any more. Use one segmenter from one thread at a time.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        *,
        config: ModelConfig,
        training_vocabulary: Vocabulary,
        provenance: Mapping[str, str],
        device: str | int | torch.device | None = None,
        dtype: torch.dtype | None = None,
        text_embeddings: Mapping[str, Float[Tensor, " embedding"]] | None = None,
        text_cache: TextCache | None = None,
    ) -> None:
        self.device = choose_device(device)
        if dtype is not None:
            network.set_image_dtype(dtype)
        # channels last: a third off the time of a convolutional trunk on a CPU
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.config = config
        self.training_vocabulary = training_vocabulary
        self.provenance = dict(provenance)
        self._prompt_encoder = PromptEncoder(
            network,
            config=config,
            training_vocabulary=training_vocabulary,
            text_embeddings=text_embeddings,
            cache=text_cache,
        )

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] = "nano",
        *,
        device: str | int | torch.device | None = None,
        dtype: DtypeName = "auto",
        text_dtype: DtypeName = "float32",
        text_cache: str | PathLike[str] | None = "auto",
        compile: bool = False,
    ) -> "Segmenter":
        """Load a model by name (`ovrcoat models` lists them) or from its file.

        `device` is "cpu", "cuda", "cuda:1", 1 or "mps"; None takes the best there is. `dtype` is what masks
        and features are computed in: "float32", "bfloat16", or "auto", which is bfloat16 where the machine
        has it; `text_dtype` the same for words. Rows of names are kept in `text_cache`: a folder, "auto"
        (the user's, see `ovrcoat doctor`) or None. `compile`: see `model/compiling.py`.

        Raises:
            ConfigError: no such model, device or dtype; no compiler (on the first image, if it fails there).
            CheckpointError: the file is damaged, foreign or does not fit.
        """
        chosen = choose_device(device)
        image_dtype = choose_dtype(dtype, chosen)
        loaded = native.load(find_model(model), device=chosen, image_dtype=image_dtype)
        segmenter = cls(
            loaded.network,
            config=loaded.config,
            training_vocabulary=loaded.training_vocabulary,
            provenance=loaded.provenance,
            device=chosen,
            text_embeddings=loaded.text_embeddings,
            text_cache=open_text_cache(text_cache),
        )
        segmenter._prompt_encoder.text_dtype = choose_dtype(text_dtype, chosen)
        if compile:
            compile_image_path(segmenter.network)
        return segmenter

    def with_settings(self, **settings: object) -> "Segmenter":
        """A segmenter of the same network (not copied) with other inference settings.

        `settings` are fields of `InferenceConfig`, such as `short_side=1024, max_long_side=2560`.

        Raises:
            ConfigError: there is no such setting, or a value is out of range.
        """
        other = copy.copy(self)
        other.config = adjusted(self.config, settings)
        other._prompt_encoder = self._prompt_encoder.with_config(other.config)
        return other

    def encode(self, image: object) -> EncodedImage:
        """Run the network on an image, once for all vocabularies.

        `image` is a path, bytes, an open file, a PIL.Image, an array or a tensor: `data.images.read_image`
        says what of each.

        Raises:
            ImageError: the image cannot be read.
        """
        (encoded,) = self._encode([self._prepare(image)])
        return encoded

    def encode_many(
        self, images: Iterable[object], *, batch_size: int = 1, on_error: OnError = "raise"
    ) -> Generator[EncodedImage, None, None]:
        """Run the network on images, in order, at most `batch_size` at a time.

        Only images of one padded size go through together, so a result never depends on its batch mates. At
        most 2 × `batch_size` encoded images live here at once. Paths in a list or tuple are read ahead in
        a thread; other iterables are asked for an image when it is needed. An image that cannot be read raises
        its `ImageError`, with "skip" it is left out with a warning, else `on_error(image, error)` is called.

        Raises:
            ConfigError: `images` is a single image, or `batch_size` is below 1.
            ImageError: an image cannot be read (on reaching it).
        """
        return encoded_in_order(
            images, self._prepare, encode=self._encode, batch_size=batch_size, on_error=on_error
        )

    @overload
    def segment(
        self,
        image: object,
        vocabulary: object,
        *,
        task: Literal["panoptic"] = ...,
        **options: Unpack[SegmentOptions],
    ) -> PanopticResult: ...
    @overload
    def segment(
        self,
        image: object,
        vocabulary: object,
        *,
        task: Literal["semantic"],
        **options: Unpack[SegmentOptions],
    ) -> SemanticResult: ...
    @overload
    def segment(
        self,
        image: object,
        vocabulary: object,
        *,
        task: Literal["instance"],
        **options: Unpack[SegmentOptions],
    ) -> InstanceResult: ...
    @overload
    def segment(
        self, image: object, vocabulary: object, *, task: Task, **options: Unpack[SegmentOptions]
    ) -> AnyResult: ...
    def segment(
        self,
        image: object,
        vocabulary: object,
        *,
        task: Task = "panoptic",
        trust: Trust | None = None,
        background: object = "auto",
        object_mask_threshold: Number | None = None,
        overlap_threshold: Number | None = None,
    ) -> AnyResult:
        """Segment an image into the categories of `vocabulary`.

        Args:
            image: anything that `read_image` reads, or an `EncodedImage` of this segmenter.
            vocabulary: anything that `Vocabulary.read` takes: "cat, kitty; sofa; wall#stuff", a preset, a
                file.
            task: "panoptic" (each pixel one segment), "semantic" (each pixel a category) or "instance".
            trust: COAT's γ from 0 (plain FC-CLIP) to 1, or "adaptive" (each mask's stability); None is the
                model's own, and 0 for semantic output, where nothing is discarded that COAT could save.
            background: background classes that keep a short list honest: "auto", "none", "on", or words.
            object_mask_threshold: least score of a mask, 0..1 (panoptic only); None is the model's own.
            overlap_threshold: least share of itself that a mask must win (panoptic only); likewise.

        Doubts about the words (a name given twice, say) come as `UserWarning`.

        Raises:
            ImageError: the image cannot be read.
            VocabularyError: the words cannot be used.
            ConfigError: an option does not exist or is out of range.
        """
        prompt = self._prompt_encoder.build(
            vocabulary,
            task=task,
            trust=trust,
            background=background,
            object_mask_threshold=object_mask_threshold,
            overlap_threshold=overlap_threshold,
        )
        return self._answer(self._encoded(image), prompt)

    @torch.inference_mode()
    def explain(self, image: object, vocabulary: object, **options: Unpack[SegmentOptions]) -> Explanation:
        """Segment an image (panoptic), and tell what became of every mask of the decoder.

        Arguments and errors are those of `segment`.
        """
        prompt = self._prompt_encoder.build(vocabulary, **options)
        encoded, settings = self._encoded(image), self.config.inference
        scored = self._score(encoded, prompt)
        return explain(scored, encoded.sizes, encoded.image, prompt=prompt, settings=settings)

    def segment_many(
        self,
        images: Iterable[object],
        vocabulary: object,
        *,
        batch_size: int = 1,
        on_error: OnError = "raise",
        task: Task = "panoptic",
        **options: Unpack[SegmentOptions],
    ) -> Generator[AnyResult, None, None]:
        """Segment images one after the other: `encode_many`, then `segment` of each.

        Words and options are checked before the first image is read.

        Raises:
            ConfigError, VocabularyError: at once, as for `segment` and `encode_many`.
            ImageError: an image cannot be read (on reaching it, unless `on_error` says otherwise).
        """
        prompt = self._prompt_encoder.build(vocabulary, task=task, **options)
        encoded_images = self.encode_many(images, batch_size=batch_size, on_error=on_error)
        return self._answers(encoded_images, prompt)

    @torch.inference_mode()
    def classify_masks(
        self, image: object, masks: object, vocabulary: object, *, background: object = "auto"
    ) -> tuple[MaskLabel, ...]:
        """Name masks that you bring, by CLIP alone (the out-of-vocabulary classifier), one label per mask.

        `masks` are (N, height, width) at the size of the upright image, as array or tensor of bool, or of
        integers where all but 0 is inside. The image encoder runs at each call, also for an `EncodedImage`,
        which does not keep its maps.

        Raises:
            ImageError: the image cannot be read; masks have the wrong shape or type; a mask is empty.
            VocabularyError: the words cannot be used.
        """
        prompt = self._prompt_encoder.build(vocabulary, background=background)
        prepared = self._prepare(image.image if isinstance(image, EncodedImage) else image)
        own_masks = check_masks(masks, prepared.image.pixels.shape[:2])
        if len(own_masks) == 0:
            return ()
        embeddings = embed_masks(self.network.encoder, self._batch([prepared]), masks=own_masks)
        logits = category_logits(embeddings, prompt.embeddings, logit_scale=self.network.encoder.logit_scale)
        return tuple(label_mask(probs, prompt.vocabulary) for probs in logits.softmax(-1).cpu())

    def _encoded(self, image: object) -> EncodedImage:
        if not isinstance(image, EncodedImage):
            return self.encode(image)
        if image.segmenter is not self:
            raise ConfigError("this image was encoded by another segmenter; encode it with this one")
        return image

    @torch.inference_mode()
    def _encode(self, images: Sequence[transforms.PreparedImage]) -> list[EncodedImage]:
        """Encode images of one padded size."""
        batch = self._batch(images)
        encoding = self.network(batch)
        return [
            EncodedImage(
                segmenter=self,
                encoding=encoding.one(row),
                sizes=ImageSizes(
                    padded=batch.padded_size, valid=valid, output=prepared.image.pixels.shape[:2]
                ),
                image=prepared.image,
            )
            for row, (prepared, valid) in enumerate(zip(images, batch.valid_sizes, strict=True))
        ]

    def _prepare(self, image: object) -> transforms.PreparedImage:
        """Read an image and resize it, maybe in another thread."""
        settings = self.config.inference
        return transforms.prepare(
            read_image(image), short_side=settings.short_side, max_long_side=settings.max_long_side
        )

    def _batch(self, images: Sequence[transforms.PreparedImage]) -> ImageBatch:
        """Images of one padded size as the network sees them."""
        return transforms.batch_images([image.resized for image in images], device=self.device)

    def _answers(
        self, encoded_images: Generator[EncodedImage, None, None], prompt: SegmentationPrompt
    ) -> Generator[AnyResult, None, None]:
        with closing(encoded_images):
            for encoded in encoded_images:
                result = self._answer(encoded, prompt)
                del encoded  # or it would live until the next one is there
                yield result
                del result

    @torch.inference_mode()
    def _answer(self, encoded: EncodedImage, prompt: SegmentationPrompt) -> AnyResult:
        return answer(
            self._score(encoded, prompt),
            encoded.sizes,
            encoded.image,
            prompt=prompt,
            settings=self.config.inference,
        )

    def _score(self, encoded: EncodedImage, prompt: SegmentationPrompt) -> ScoredMasks:
        predictions = self.network.classify(encoded.encoding, prompt.embeddings)
        return score(predictions, prompt, self.config.inference)
