"""The recorded network rebuilt, and everything that it computes on the way for one image."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ovrcoat.checkpoints.foreign import import_state
from ovrcoat.config import ModelConfig
from ovrcoat.data.images import read_image
from ovrcoat.data.transforms import batch_images
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import category_logits
from ovrcoat.structures import (
    CategoryEmbeddings,
    EncoderFeatures,
    Encoding,
    ImageBatch,
    MaskEmbeddings,
    MaskPredictions,
    MaskProposals,
    PixelFeatures,
)
from ovrcoat.vocabulary import Category, Vocabulary


@dataclass(frozen=True)
class Subject:
    """A recorded network, its vocabulary, and the images by the name of their run."""

    family: str
    folder: Path
    numbers: dict[str, Any]
    config: ModelConfig
    network: SegmentationNetwork
    templates: tuple[str, ...]
    vocabulary: Vocabulary
    training_vocabulary: Vocabulary
    recorded_seen: tuple[bool, ...]
    runs: dict[str, "Run"] = field(default_factory=dict)

    @cached_property
    def seen(self) -> Tensor:
        """Which test categories training knew, by our rule."""
        return torch.tensor(self.vocabulary.seen_in(self.training_vocabulary))

    @cached_property
    def categories(self) -> CategoryEmbeddings:
        """The test vocabulary in text space."""
        owners = [index for index, category in enumerate(self.vocabulary.categories) for _ in category.names]
        return CategoryEmbeddings(
            rows=self.rows(self.vocabulary),
            category_of_row=torch.tensor(owners),
            category_count=len(self.vocabulary),
        )

    def rows(self, vocabulary: Vocabulary) -> Tensor:
        """One row per name."""
        names = [name for category in vocabulary.categories for name in category.names]
        return self.network.embed_names(names, self.templates)

    def is_batch(self, run: str) -> bool:
        """Several images were recorded together: padded to one size, which this package never does."""
        return len(self.numbers["runs"].get(run, ())) > 1

    def run(self, name: str) -> "Run":
        """What the network computes for the photo of a run, computed once."""
        if name not in self.runs:
            (index,) = self.numbers["runs"][name]
            self.runs[name] = Run(self, self.numbers["images"][index])
        return self.runs[name]


def load_subject(folder: Path, family: str) -> Subject:
    """Rebuild the network of `folder/family` through the package's importer of published weights."""
    place = folder / family
    numbers = json.loads((place / "config.json").read_text())
    words = json.loads((folder / "vocabulary.json").read_text())
    config = model_config(numbers, tuple(words["templates"]))
    weights = load_file(place / "weights.safetensors")
    imported = import_state(weights, source=f"{family}/weights.safetensors", config=config)
    return Subject(
        family=family,
        folder=place,
        numbers=numbers,
        config=config,
        network=imported.network,
        templates=config.templates,
        vocabulary=_vocabulary(words["test_categories"]),
        training_vocabulary=_vocabulary(words["train_categories"]),
        recorded_seen=tuple(entry["seen_in_training"] for entry in words["test_categories"]),
    )


def model_config(numbers: dict[str, Any], templates: tuple[str, ...]) -> ModelConfig:
    """The package's configuration from the fixture's config.json."""
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
            "drop_path": trunk["drop_path_in_fixture"],
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
            "inference": {
                "alpha": numbers["geometric_ensemble_alpha"],
                "beta": numbers["geometric_ensemble_beta"],
                "trust": numbers["clip_trust_weight_released"],
                "ensemble_on_valid_mask": numbers["ensemble_on_valid_mask"],
                "overlap_threshold": numbers["overlap_threshold_released"],
                "object_mask_threshold": numbers["object_mask_threshold_released"],
                "instances": numbers["topk_per_image"],
            },
            "templates": templates,
        }
    )


def _vocabulary(entries: list[dict[str, Any]]) -> Vocabulary:
    return Vocabulary(
        tuple(
            Category(names=tuple(entry["names"]), is_thing=entry["isthing"], id=entry["id"])
            for entry in entries
        )
    )


class Run:
    """One image through the network, with every part's outputs kept in `seen_by` (attribute path → calls)."""

    def __init__(self, subject: Subject, image: dict[str, Any]) -> None:
        network = subject.network
        self.subject = subject
        self.output_size = tuple(image["output_hw"])
        pixels = read_image(subject.folder.parent / image["file"]).pixels
        self.images: ImageBatch = batch_images([pixels])
        with recording(network) as outputs:
            self.features: EncoderFeatures = network.encoder(self.images)
            self.pixels: PixelFeatures = network.pixel_decoder(self.features)
            self.proposals: tuple[MaskProposals, ...] = network.mask_decoder(self.pixels, every_layer=True)
            self.clip: MaskEmbeddings = network.encoder.embed_masks(
                self.features, self.proposals[-1].mask_logits
            )
        self.outputs = outputs

    @cached_property
    def predictions(self) -> MaskPredictions:
        """The final proposals, classified."""
        return self.subject.network.classify(
            Encoding(proposals=self.proposals[-1], clip=self.clip), self.subject.categories
        )

    def logits_with_void(self, proposals: MaskProposals) -> Tensor:
        """Category logits, then void's in the last column, as the released code has it."""
        logits, void = self.subject.network.text_classifier(proposals.embeddings, self.subject.categories)
        return torch.cat((logits, void[..., None]), dim=-1)

    def clip_probs(self, clip: MaskEmbeddings) -> Tensor:
        """Probabilities of the categories by CLIP's own embeddings."""
        encoder = self.subject.network.encoder
        logits = category_logits(clip.embeddings, self.subject.categories, logit_scale=encoder.logit_scale)
        return logits.softmax(dim=-1)


@contextmanager
def recording(network: nn.Module) -> Iterator[dict[str, list[Any]]]:
    """Keep what goes into and comes out of every module while the block runs.

    Keys are the module's path and, for inputs, the path + "<": positional and named ones as (args, kwargs).
    """
    kept: defaultdict[str, list[Any]] = defaultdict(list)
    handles = []
    for name, module in network.named_modules():
        # clones, because some layers (ReLU) later write in place
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
