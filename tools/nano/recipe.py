"""The numbers of nano: architecture, words, data, split and schedule; all that the recipe decides."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ovrcoat.config import (
    InferenceConfig,
    MaskDecoderConfig,
    ModelConfig,
    NanoConfig,
    NanoTextConfig,
    PixelDecoderConfig,
)
from ovrcoat.data.panoptic_folder import PanopticFolder
from ovrcoat.training.trainer import Source, TrainingSettings

# How often a data set is drawn. BSDS's regions are finer than objects: a little of them teaches boundaries.
WEIGHTS = {"coco_things": 0.38, "voc_objects": 0.22, "msrc_dev": 0.32, "bsds_regions": 0.08}
# Of every data set's photos, chosen by a hash of the file name, kept for the model card's figures.
HELD_OUT_SHARE = 0.1
TEMPLATES = ("{}", "a photo of a {}.")
CROP_SIZE = 320  # pixels
CROP_SCALES = (0.85, 1.8)  # short side of the resized photo over the crop size
SETTINGS = TrainingSettings(steps=2400, batch_size=4, learning_rate=5e-4, points=1024)

# Words of the data sets' files that the published list of COCO's names lacks, and the category they mean.
SAME_AS_COCO = {
    "orange": "orange fruit",
    "remote": "tv remote",
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "tv monitor": "tv",
}
# MSRC's own words that COCO's things lack; isthing as MSRC's file says.
MSRC_WORDS = {
    "building": False,
    "grass": False,
    "tree": False,
    "sky": False,
    "mountain": False,
    "water": False,
    "road": False,
    "sign": True,
    "flower": True,
    "face": True,
    "body": True,
}


def model_config(vocabulary_size: int) -> ModelConfig:
    """nano's architecture; `vocabulary_size` is that of the cut tokenizer."""
    return ModelConfig(
        encoder=NanoConfig(embedding_dim=384, text=NanoTextConfig(vocabulary_size=vocabulary_size)),
        pixel_decoder=PixelDecoderConfig(
            channels=128, mask_channels=128, layers=3, heads=8, feed_forward=512
        ),
        mask_decoder=MaskDecoderConfig(channels=128, queries=100, layers=6, heads=8, feed_forward=512),
        inference=InferenceConfig(
            short_side=448,
            max_long_side=768,
            ensemble_on_valid_mask=True,
            # Chosen on photos that were held out: so short a training leaves many copies of each mask, and
            # the joined towers name better than the decoder's own head.
            alpha=0.7,
            overlap_threshold=0.5,
            duplicate_iou=0.5,
        ),
        templates=TEMPLATES,
    )


def training_categories(coco: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Category -> names: COCO's 80 things with VOC's words among their names, then MSRC's own words."""
    categories = {}
    for name, names in coco.items():
        categories[name] = (*names, *(word for word, own in SAME_AS_COCO.items() if own == name))
    return categories | {word: (word,) for word in MSRC_WORDS}


def category_ids(categories: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Any name -> position of its category."""
    return {name: index for index, names in enumerate(categories.values()) for name in names}


def is_held_out(file_name: str) -> bool:
    """Whether a photo is kept for measuring: by a hash, so that the split needs no file and never moves."""
    digest = hashlib.sha256(file_name.encode()).digest()
    return digest[0] < 256 * HELD_OUT_SHARE


def training_sources(data: Path) -> Iterator[Source]:
    """The photos to train on."""
    for name, weight in WEIGHTS.items():
        photos = PanopticFolder(data / name)
        kept = tuple(
            index for index, (file_name, _) in enumerate(photos.records) if not is_held_out(file_name)
        )
        yield Source(photos=photos, weight=weight, indices=kept)


def coco_things() -> dict[str, tuple[str, ...]]:
    """COCO's things and their names, from the package's preset."""
    from ovrcoat.vocabulary import Vocabulary

    return {
        category.name: category.names for category in Vocabulary.named("coco").categories if category.is_thing
    }
