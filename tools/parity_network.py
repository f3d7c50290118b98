"""Rebuild a recorded network and keep all intermediate results of its forward pass for one image."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ovrcoat.checkpoints.foreign import import_state, maft_plus_inference
from ovrcoat.config import ModelConfig
from ovrcoat.data.images import read_image
from ovrcoat.data.transforms import batch_images
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import (
    CategoryEmbeddings,
    EncoderFeatures,
    Encoding,
    ImageBatch,
    MaskEmbeddings,
    MaskPredictions,
    MaskProposals,
    PixelFeatures,
    ScoredMasks,
)
from ovrcoat.vocabulary import Category, Vocabulary


@dataclass(frozen=True)
class Subject:
    """A recorded network with its vocabularies, and the runs computed so far by their recorded name."""

    family: str
    folder: Path
    inputs: Path  # the folder with vocabulary.json and the images
    numbers: dict[str, Any]  # config.json of the recording
    config: ModelConfig
    network: SegmentationNetwork
    templates: tuple[str, ...]
    vocabulary: Vocabulary
    training_vocabulary: Vocabulary
    recorded_seen: tuple[bool, ...]
    runs: dict[str, "Run"] = field(default_factory=dict)

    @cached_property
    def seen(self) -> Tensor:
        """Test categories that occur in the training vocabulary, by the rule of this package."""
        return torch.tensor(self.vocabulary.seen_in(self.training_vocabulary))

    @cached_property
    def categories(self) -> CategoryEmbeddings:
        """Text embeddings of the test vocabulary."""
        owners = [index for index, category in enumerate(self.vocabulary.categories) for _ in category.names]
        return CategoryEmbeddings.shared(
            self.text_embeddings(self.vocabulary), torch.tensor(owners), len(self.vocabulary)
        )

    def text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Return one text embedding per name, shape (name, embedding)."""
        names = [name for category in vocabulary.categories for name in category.names]
        return self.network.embed_names(names, self.templates)

    def skips(self, run: str) -> bool:
        """Whether a run recorded images of different sizes in one batch, which the package never does.

        The numbers of such a run are compared for MAFT+ only: the text embeddings must not mix the images.
        """
        return len(self.numbers["runs"].get(run, ())) > 1 and self.config.text_transfer is None

    def run(self, name: str) -> "Run":
        """Return the forward pass for the images of a run; it is computed only once."""
        if name not in self.runs:
            self.runs[name] = Run(self, name)
        return self.runs[name]


def load_subject(folder: Path, family: str) -> Subject:
    """Rebuild the network of `folder/family` with the package's importer of published weights."""
    place = folder / family
    numbers = json.loads((place / "config.json").read_text())
    inputs = place if (place / "vocabulary.json").is_file() else folder
    vocabularies = json.loads((inputs / "vocabulary.json").read_text())
    config = model_config(numbers, tuple(vocabularies["templates"]))
    weights = load_file(place / "weights.safetensors")
    imported = import_state(weights, source=f"{family}/weights.safetensors", config=config)
    return Subject(
        family=family,
        folder=place,
        inputs=inputs,
        numbers=numbers,
        config=config,
        network=imported.network,
        templates=config.templates,
        vocabulary=_vocabulary(vocabularies["test_categories"]),
        training_vocabulary=_vocabulary(vocabularies["train_categories"]),
        recorded_seen=tuple(
            entry["seen_in_training"]
            for entry in vocabularies["test_categories"]
            if "seen_in_training" in entry  # MAFT+ does not distinguish seen and unseen categories
        ),
    )


def pad_together(images: Sequence[np.ndarray], *, multiple: int) -> ImageBatch:
    """Stack images of any sizes in one batch, as the released code does in training.

    Every image is padded at the right and at the bottom to the largest height and the largest width of the
    batch, rounded up to a multiple of `multiple` (`ImageList.from_tensors` of detectron2). The encoder sets
    the padding to zero after normalization. The package's `batch_images` refuses such batches on purpose.

    Args:
        images: RGB images, uint8, each of shape (height, width, 3).
        multiple: The size divisibility of the recorded network, in pixels.
    """
    sizes = tuple((image.shape[0], image.shape[1]) for image in images)
    height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes, strict=True))
    pixels = torch.zeros(len(images), 3, height, width)
    for row, image, (own_height, own_width) in zip(pixels, images, sizes, strict=True):
        row[:, :own_height, :own_width] = torch.from_numpy(image.copy()).permute(2, 0, 1)
    # the package keeps channels last in memory; other layouts round differently
    return ImageBatch(pixels=pixels.contiguous(memory_format=torch.channels_last), valid_sizes=sizes)


def model_config(numbers: dict[str, Any], templates: tuple[str, ...]) -> ModelConfig:
    """Translate the recording's config.json into the package's configuration."""
    text = {
        name: numbers["text"][name] for name in ("width", "heads", "layers", "context_length", "activation")
    }
    text["vocabulary_size"] = numbers["text"]["vocab_size"]
    encoder = {"family": numbers["backbone_kind"], "embedding_dim": numbers["embed_dim"], "text": text}
    if encoder["family"] == "convnext":
        trunk = numbers["convnext"]
        encoder |= {
            "depths": trunk["depths"],
            "widths": trunk["dims"],
            "head_hidden": trunk["head_hidden"],
            "norm_epsilon": trunk["layer_norm_eps"],
            "drop_path": trunk.get("drop_path_in_fixture", 0.0),
        }
    else:
        trunk = numbers["resnet"]
        encoder |= {
            "blocks": trunk["layers"],
            "width": trunk["width"],
            "heads": trunk["heads"],
            "pooling_grid": trunk["attnpool_grid"],
        }
    pixel = numbers["pixel_decoder"]
    return ModelConfig.model_validate(
        {
            "encoder": encoder,
            "pixel_decoder": {
                "channels": numbers["conv_dim"],
                "mask_channels": numbers["mask_dim"],
                "layers": pixel["encoder_layers"],
                "heads": pixel["nheads"],
                "points": pixel["points"],
                "feed_forward": pixel["dim_feedforward"],
            },
            "mask_decoder": {
                "channels": numbers["hidden_dim"],
                "queries": numbers["num_queries"],
                "layers": numbers["transformer_decoder_layers"],
                "heads": numbers["nheads"],
                "feed_forward": numbers["dim_feedforward"],
            },
            "text_transfer": {"heads": numbers["transfer"]["heads"]} if "transfer" in numbers else None,
            "inference": _inference(numbers),
            "templates": templates,
        }
    )


def _inference(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded settings; for MAFT+ those that the package uses for its converted files."""
    if "transfer" in numbers:
        return maft_plus_inference("panoptic").model_dump()
    return {
        "alpha": numbers["geometric_ensemble_alpha"],
        "beta": numbers["geometric_ensemble_beta"],
        "trust": numbers["clip_trust_weight_released"],
        "ensemble_on_valid_mask": numbers["ensemble_on_valid_mask"],
        "overlap_threshold": numbers["overlap_threshold_released"],
        "object_mask_threshold": numbers["object_mask_threshold_released"],
        "instances": numbers["topk_per_image"],
    }


def _vocabulary(entries: list[dict[str, Any]]) -> Vocabulary:
    return Vocabulary(
        tuple(
            Category(names=tuple(entry["names"]), is_thing=entry["isthing"], id=entry["id"])
            for entry in entries
        )
    )


class Run:
    """Forward pass for the images of a run; `outputs` holds the outputs of every module (see `recording`)."""

    def __init__(self, subject: Subject, name: str) -> None:
        network = subject.network
        self.subject = subject
        self.name = name
        entries = [subject.numbers["images"][index] for index in subject.numbers["runs"][name]]
        pixels = [read_image(subject.inputs / entry["file"]).pixels for entry in entries]
        stride = network.encoder.stride
        self.images: ImageBatch = (
            batch_images(pixels, stride=stride) if len(pixels) == 1 else pad_together(pixels, multiple=stride)
        )
        self.sizes = tuple(
            ImageSizes(padded=self.images.padded_size, valid=valid, output=tuple(entry["output_hw"]))
            for valid, entry in zip(self.images.valid_sizes, entries, strict=True)
        )
        with recording(network) as outputs:
            self.features: EncoderFeatures = network.encoder(self.images)
            self.pixels: PixelFeatures = network.pixel_decoder(self.features)
            self.proposals: tuple[MaskProposals, ...] = network.mask_decoder(self.pixels, every_layer=True)
            self.clip: MaskEmbeddings = network.encoder.embed_masks(
                self.features.clip_features, self.proposals[-1].mask_logits
            )
        self.outputs = outputs

    @cached_property
    def encoding(self) -> Encoding:
        """Everything that the classifiers use."""
        return Encoding(
            proposals=self.proposals[-1],
            clip=self.clip,
            transfer_features=self.subject.network.transfer_features(self.features.clip_features),
        )

    @cached_property
    def predictions(self) -> MaskPredictions:
        """Class logits of the final proposals."""
        return self.subject.network.classify(self.encoding, self.subject.categories)

    def logits_with_void(self, proposals: MaskProposals) -> Tensor:
        """Return category logits with the void logit in the last column, as the released code does."""
        logits, void = self.subject.network.text_classifier(proposals.embeddings, self.subject.categories)
        return torch.cat((logits, void[..., None]), dim=-1)

    def scored(self, image: int, *, gamma: float | None = None) -> ScoredMasks:
        """Return the masks of one image with final probabilities; `gamma` None is the model's own trust."""
        inference = self.subject.config.inference
        return score_masks(
            self.predictions,
            image,
            seen=self.subject.seen,
            alpha=inference.alpha,
            beta=inference.beta,
            trust=inference.trust if gamma is None else gamma,
            ensemble_on_valid_mask=inference.ensemble_on_valid_mask,
        )

    def clip_probs(self, clip: MaskEmbeddings) -> Tensor:
        """Return category probabilities computed from CLIP's mask embeddings."""
        network = self.subject.network
        categories = network.adapt(self.encoding, self.subject.categories)
        return network.encoder.classify(clip.embeddings, categories).softmax(dim=-1)


@contextmanager
def recording(network: nn.Module) -> Iterator[dict[str, list[Any]]]:
    """Keep the inputs and outputs of every module while the block runs.

    Yields:
        Lists with one entry per call. The key of an output is the module's path. The key of an input is the
        path followed by "<"; its entries are pairs (args, kwargs).
    """
    kept: defaultdict[str, list[Any]] = defaultdict(list)
    handles = []
    for name, module in network.named_modules():
        # copies, because some layers (ReLU) write in place later
        handles.append(
            module.register_forward_hook(lambda _, __, output, name=name: kept[name].append(_copy(output)))
        )
        handles.append(
            module.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: kept[f"{name}<"].append((_copy(args), kwargs)),
                with_kwargs=True,
            )
        )
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return tuple(_copy(item) for item in value) if isinstance(value, tuple) else value
