"""Segmenter: segments images into the classes of a vocabulary. API, CLI and evaluation all use it.

The network runs once per image and gives an `EncodedImage`. A vocabulary is embedded once and gives a
`SegmentationPrompt`, which also holds the task, trust and thresholds. `EncodedImage.predict` combines both.
"""

import copy
from collections.abc import Generator, Iterable, Mapping
from os import PathLike
from typing import Literal, Unpack, overload

import torch

from ovrcoat.checkpoints.catalog import find_names
from ovrcoat.choices import DtypeName, Number, Task, Trust
from ovrcoat.config import ModelConfig, with_inference_settings
from ovrcoat.data.images import ImageInput, OnError
from ovrcoat.data.mask_files import MaskFiles
from ovrcoat.errors import ImageError
from ovrcoat.model.mixed_network import AnyNetwork, names_network
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.image_encoder import ImageEncoder
from ovrcoat.segmentation.loading import TextSettings, load_parts
from ovrcoat.segmentation.many_images import ResultIterator, predict_each, with_image_warnings
from ovrcoat.segmentation.mask_classification import MaskLabel, label_masks
from ovrcoat.segmentation.mixed_embedder import Embedder
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.prompt import PromptEncoder, SegmentationPrompt, SegmentOptions, TextEmbedder
from ovrcoat.segmentation.text_cache import open_text_cache
from ovrcoat.system.devices import choose_device, choose_dtype
from ovrcoat.vocabulary import Vocabulary, VocabularyInput


class Segmenter:
    """Segments images into the classes of any vocabulary.

    A segmenter may be used from many threads. The network runs one batch at a time per device.

    Args:
        network: moved to `device` and set to eval mode.
        config: the model's configuration.
        training_vocabulary: decides which categories are seen.
        provenance: where the weights come from.
        device: "cpu", "cuda", "cuda:1", 1 or "mps". None: the fastest available device.
        embedder: embeds class names. None: by the network, without a cache on disk.
        mask_files: masks to name instead of those of the network.
    """

    def __init__(
        self,
        network: AnyNetwork,
        *,
        config: ModelConfig,
        training_vocabulary: Vocabulary,
        provenance: Mapping[str, str],
        device: str | int | torch.device | None = None,
        embedder: Embedder | None = None,
        mask_files: MaskFiles | None = None,
    ) -> None:
        self.device = choose_device(device)
        # channels last: reduces the time of a convolutional trunk on a CPU by a third
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.training_vocabulary = training_vocabulary
        self.provenance = dict(provenance)
        self.mask_files = mask_files
        if embedder is None:
            embedder = TextEmbedder(names_network(network), config=config)
        self._set_config(
            config, PromptEncoder(embedder, config=config, training_vocabulary=training_vocabulary)
        )

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] = "nano",
        *,
        masks: str | PathLike[str] | None = None,
        device: str | int | torch.device | None = None,
        dtype: DtypeName = "float32",
        text_dtype: DtypeName = "float32",
        text_cache: str | PathLike[str] | None = "auto",
        compile: bool = False,
        download: bool = False,
    ) -> "Segmenter":
        """Load a model.

        Args:
            model: name (`ovrcoat models` lists them), path, or address such as "hf://owner/repo"; with
                `masks`, also an encoder with OpenCLIP's weights: "openclip:ViT-B-16=FILE".
            masks: another source of masks: a model, a Mask2Former (folder of Hugging Face, `.pth` of
                Detectron2), or your own masks (`MaskFiles`). `model` then only names them.
            device: "cpu", "cuda", "cuda:1", 1 or "mps". None: the fastest available device.
            dtype: dtype of masks and features: "float32", "bfloat16" (slightly different results, often
                faster), or "auto" (bfloat16 where the hardware supports it).
            text_dtype: dtype in which class names are embedded; the same choices.
            text_cache: folder for text embeddings, "auto" (the user's cache folder), or None for no cache.
            compile: compile the image branch with `torch.compile`.
            download: allow the download of a model.

        Raises:
            ConfigError: there is no such model, device or dtype, or no compiler (perhaps at the first image).
            CheckpointError: the file is damaged, is not a checkpoint of ovrcoat, or does not fit the network.
        """
        chosen = choose_device(device)
        parts = load_parts(
            find_names(model, download=download),
            masks,
            device=chosen,
            image_dtype=choose_dtype(dtype, chosen),
            text=TextSettings(open_text_cache(text_cache), choose_dtype(text_dtype, chosen)),
            compile=compile,
        )
        return cls(
            parts.network,
            config=parts.config,
            training_vocabulary=parts.training_vocabulary,
            provenance=parts.provenance,
            device=chosen,
            embedder=parts.embedder,
            mask_files=parts.mask_files,
        )

    def with_settings(self, **settings: object) -> "Segmenter":
        """Return a segmenter of the same network (not copied) with other inference settings.

        Encoded images may be passed between segmenters of one network with equal test resolution
        (`short_side` and `max_long_side`) and `classify_by`.

        Args:
            **settings: fields of `InferenceConfig`, such as `short_side=1024, max_long_side=2560`.

        Raises:
            ConfigError: there is no such setting, or a value is out of range.
        """
        other = copy.copy(self)
        config = with_inference_settings(self.config, settings)
        other._set_config(config, self._prompt_encoder.with_config(config))
        return other

    def prompt(
        self, vocabulary: VocabularyInput, *, task: Task = "panoptic", **options: Unpack[SegmentOptions]
    ) -> SegmentationPrompt:
        """Check and embed a vocabulary once, for many images (`predict_many`, `EncodedImage.predict`).

        Arguments and errors are those of `segment`. A suspicious vocabulary does not issue a `UserWarning`;
        see the prompt's `issues`.
        """
        return self._prompt_encoder.encode(vocabulary, task=task, **options)

    def encode(self, image: ImageInput) -> EncodedImage:
        """Run the network on an image, once for all vocabularies.

        Args:
            image: a path, bytes, an open file, a PIL.Image, an array or a tensor; see `read_image`.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._image_encoder.encode(image)

    def encode_many(
        self, images: Iterable[ImageInput], *, batch_size: int = 1
    ) -> Generator[tuple[ImageInput, EncodedImage | ImageError], None, None]:
        """Yield (source, encoded image) in order, or (source, error) if the image cannot be read.

        Only images of one padded size share a batch, so a result does not depend on the batch size. At most
        2 × `batch_size` encoded images exist at a time.

        Args:
            images: anything that `encode` accepts. Paths in a list or tuple are prefetched in a thread; other
                iterables are advanced when an image is needed.
            batch_size: maximum number of images per batch.

        Raises:
            ConfigError: `images` is a single image, or `batch_size` is below 1.
        """
        return self._image_encoder.encode_many(images, batch_size=batch_size)

    @overload
    def segment(
        self,
        image: ImageInput | EncodedImage,
        vocabulary: VocabularyInput,
        *,
        task: Literal["panoptic"] = ...,
        **options: Unpack[SegmentOptions],
    ) -> PanopticResult: ...
    @overload
    def segment(
        self,
        image: ImageInput | EncodedImage,
        vocabulary: VocabularyInput,
        *,
        task: Literal["semantic"],
        **options: Unpack[SegmentOptions],
    ) -> SemanticResult: ...
    @overload
    def segment(
        self,
        image: ImageInput | EncodedImage,
        vocabulary: VocabularyInput,
        *,
        task: Literal["instance"],
        **options: Unpack[SegmentOptions],
    ) -> InstanceResult: ...
    @overload
    def segment(
        self,
        image: ImageInput | EncodedImage,
        vocabulary: VocabularyInput,
        *,
        task: Task,
        **options: Unpack[SegmentOptions],
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
        score_threshold: Number | None = None,
    ) -> AnyResult:
        """Segment an image into the categories of a vocabulary.

        Args:
            image: anything that `read_image` accepts, or an `EncodedImage` of the same network and test
                resolution.
            vocabulary: anything that `Vocabulary.read` accepts: "cat, kitty; sofa; wall#stuff", the name of a
                preset, a file, a list.
            task: "panoptic" (each pixel has one segment), "semantic" (each pixel has one category) or
                "instance" (things, whose masks may overlap).
            trust: COAT's γ, 0 to 1: COAT multiplies the void probability of a mask by
                1 - γ × CLIP's confidence, so 0 is plain FC-CLIP. "adaptive" uses the stability of each mask
                as its γ. None: the model's own value, or 0 for semantic output.
            background: additional classes that compete with yours; pixels assigned to them become void.
                "auto" adds the categories of COCO and ADE20K if the vocabulary is short, "on" always adds
                them, "none" adds nothing, and "keep" uses the background classes that `vocabulary` already
                has. Anything else is read like `vocabulary`.
            object_mask_threshold: masks whose score does not exceed this value are discarded, 0 to 1
                (panoptic only). None: the model's own value.
            overlap_threshold: minimum ratio of a mask's argmax area to its original area, as in Mask2Former
                (panoptic only). None: the model's own value.
            score_threshold: minimum score of an instance, 0 to 1 (instance only). If given, duplicates are
                removed as well. None: all instances are returned, as COCO's metric expects.

        A suspicious vocabulary, for example with a duplicate name, issues a `UserWarning`.

        Raises:
            ImageError: the image cannot be read.
            VocabularyError: the vocabulary cannot be used.
            ConfigError: an option does not exist or is out of range.
        """
        prompt = self._prompt_encoder.encode(
            vocabulary,
            task=task,
            trust=trust,
            background=background,
            object_mask_threshold=object_mask_threshold,
            overlap_threshold=overlap_threshold,
            score_threshold=score_threshold,
        )
        prompt.warn()
        return self._encoded(image).predict(prompt)

    def explain(
        self,
        image: ImageInput | EncodedImage,
        vocabulary: VocabularyInput,
        **options: Unpack[SegmentOptions],
    ) -> Explanation:
        """Segment an image (panoptic), and explain every mask. Arguments and errors: see `segment`."""
        prompt = self._prompt_encoder.encode(vocabulary, **options)
        prompt.warn()
        return self._encoded(image).predict_explained(prompt)

    @overload
    def segment_many(
        self,
        images: Iterable[ImageInput],
        vocabulary: VocabularyInput,
        *,
        task: Literal["panoptic"] = ...,
        batch_size: int = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[SegmentOptions],
    ) -> Generator[tuple[ImageInput, PanopticResult], None, None]: ...
    @overload
    def segment_many(
        self,
        images: Iterable[ImageInput],
        vocabulary: VocabularyInput,
        *,
        task: Task = ...,
        batch_size: int = ...,
        on_error: OnError = ...,
        **options: Unpack[SegmentOptions],
    ) -> ResultIterator: ...
    def segment_many(
        self,
        images: Iterable[ImageInput],
        vocabulary: VocabularyInput,
        *,
        task: Task = "panoptic",
        batch_size: int = 1,
        on_error: OnError = "raise",
        **options: Unpack[SegmentOptions],
    ) -> ResultIterator:
        """Segment many images: yields (source, result) in order.

        The vocabulary and the options are checked before the first image is read.

        Args:
            images: see `encode_many`.
            vocabulary: see `segment`.
            task: see `segment`.
            batch_size: maximum number of images per batch; does not change results.
            on_error: what happens to an unreadable image: "raise" its error, "skip" it with a warning, or
                "yield" (source, error).
            **options: see `segment`.

        Raises:
            ConfigError, VocabularyError: before iteration starts, for the reasons that `segment` and
                `encode_many` list.
            ImageError: on reaching an unreadable image, if `on_error` is "raise".
        """
        prompt = self._prompt_encoder.encode(vocabulary, task=task, **options)
        prompt.warn()
        results = self.predict_many(images, prompt, batch_size=batch_size, on_error=on_error)
        return with_image_warnings(results)

    def predict_many(
        self,
        images: Iterable[ImageInput],
        prompt: SegmentationPrompt,
        *,
        batch_size: int = 1,
        on_error: OnError = "raise",
    ) -> ResultIterator:
        """Segment many images with a prompt made by `Segmenter.prompt`: yields (source, result) in order.

        Arguments and errors are those of `segment_many`. This issues no `UserWarning` about unusual images;
        see `result.notes`.
        """
        encoded = self.encode_many(images, batch_size=batch_size)
        return predict_each(encoded, prompt, on_error=on_error)

    @torch.inference_mode()
    def classify_masks(
        self,
        image: ImageInput | EncodedImage,
        masks: object,
        vocabulary: VocabularyInput,
        *,
        background: object = "auto",
    ) -> tuple[MaskLabel, ...]:
        """Classify masks that you supply, by CLIP alone (the out-of-vocabulary classifier).

        Args:
            image: see `segment`. An `EncodedImage` is not encoded again.
            masks: array or tensor of shape (N, height, width) at the size of the upright image, bool or
                integer; every nonzero pixel belongs to the mask.
            vocabulary: see `segment`.
            background: see `segment`.

        Returns:
            One label per mask.

        Raises:
            ImageError: the image cannot be read, the masks have the wrong shape or dtype, or a mask is empty.
            VocabularyError: the vocabulary cannot be used.
        """
        prompt = self._prompt_encoder.encode(vocabulary, background=background)
        prompt.warn()
        encoded = self._encoded(image).with_masks(masks)
        return label_masks(self.network, encoded.encoding, prompt=prompt)

    def _set_config(self, config: ModelConfig, prompt_encoder: PromptEncoder) -> None:
        self.config = config
        self._prompt_encoder = prompt_encoder
        # the image encoder passes the prompt encoder on to each `EncodedImage`, for `EncodedImage.segment`
        self._image_encoder = ImageEncoder(
            self.network,
            settings=config.inference,
            prompt_encoder=prompt_encoder,
            mask_files=self.mask_files,
        )

    def _encoded(self, image: object) -> EncodedImage:
        if not isinstance(image, EncodedImage):
            return self.encode(image)  # type: ignore[arg-type] # `read_image` checks the type
        return self._image_encoder.check_compatible(image)
