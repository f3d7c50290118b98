"""Measure what CLIP forgets in OVR and in full fine-tuning, with models of nano's size.

    pip install -e '.[nano,train]'
    export OVRCOAT_DATASETS=/path/to/datasets       # coco_things, voc_objects, msrc_dev, imagenet_names
    python tools/nano/forgetting.py --folder runs/forgetting

All variants start from one model: towers that are aligned with ImageNet's class names alone
(experiment-initial.yaml), and the decoders of nano, which first train with this encoder, kept frozen.
Then each variant trains on the objects of COCO and VOC, with the same samples, losses and learning rates:

* none: the encoder before any fine-tuning
* ovr: the second stage of OVR, which trains the trunk of the image tower and the temperature
* full: every parameter trains, also the projection and the text tower; each step embeds all class names

The table gives the accuracy of the encoder alone: whole images among ImageNet's class names, and ground-truth
masks of images that were not trained on among the names of their dataset. An interrupted call continues when
it is repeated.

    python tools/nano/forgetting.py --measure nano runs/nano/resolution/model.safetensors

gives the same table for any models like nano, without training. Images of MSRC that nano was trained on are
part of it.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from initial_model import HELD_OUT_CLASSES, InitialModelConfig, make_initial_model
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import embedded_path, find_model
from ovrcoat.config import InferenceConfig
from ovrcoat.data.held_out import is_held_out
from ovrcoat.model.encoders.nano import NanoEncoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.devices import choose_dtype
from ovrcoat.training.accelerator import make_accelerator
from ovrcoat.training.config import (
    CropConfig,
    DataConfig,
    LossConfig,
    OvrConfig,
    ScheduleConfig,
    StageConfig,
    StartConfig,
    TrainConfig,
)
from ovrcoat.training.config_file import read_settings
from ovrcoat.training.crops import Crop
from ovrcoat.training.initialization import InitialModel, read_model
from ovrcoat.training.losses import LossTerm
from ovrcoat.training.objective import Objective
from ovrcoat.training.run import MODEL_FILE, SETTINGS_FILE, embed_vocabulary
from ovrcoat.training.sources import expand_variables, open_source
from ovrcoat.training.stage_data import DataOpener, StageData
from ovrcoat.training.stages import stage_of
from ovrcoat.training.state import check_settings
from ovrcoat.training.trainer import RunOptions, StageTrainer
from ovrcoat.vocabulary import Vocabulary
from pooled_features import PooledSegments, Pooler

HERE = Path(__file__).parent
DATASETS = "${OVRCOAT_DATASETS}"
VARIANTS = ("none", "ovr", "full")
HELD_OUT = 0.1  # of COCO and VOC
TRAINED = ("coco_things", "voc_objects")
START_RATE = 5e-4  # of the decoders alone
RATE = 1e-4
ENCODER_LR_MULTIPLIER = 0.5  # 5e-5 for the encoder, as in the paper


def main() -> None:
    """Train and measure all variants, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=60, help="of each variant")
    parser.add_argument("--decoder-steps", type=int, default=100, help="with the frozen encoder, before")
    parser.add_argument("--size", type=int, default=256, help="of the training crops, in pixels")
    parser.add_argument("--measure", nargs="+", metavar="MODEL", help="only measure these models")
    arguments = parser.parse_args()
    if not os.environ.get("OVRCOAT_DATASETS"):
        parser.error(
            "the environment variable OVRCOAT_DATASETS is not set; it names the folder of the datasets"
        )
    folder = arguments.folder
    found: dict[str, list[dict[str, float]]] = {}
    if arguments.measure:
        for name in arguments.measure:
            model = read_model(find_model(name))
            found[name] = [measure(model, model.config.inference, folder / "features")]
        print(table(found))
        return
    initial = read_settings(HERE / "experiment-initial.yaml", InitialModelConfig)
    aligned = make_initial_model(
        initial, base=HERE, folder=folder / "initial", features=folder / "features", seed=0
    )
    start = Run(folder, seed=0, size=arguments.size).start(aligned, steps=arguments.decoder_steps)
    for seed in arguments.seeds:
        run = Run(folder / f"seed-{seed}", seed=seed, size=arguments.size)
        for variant in VARIANTS:
            model = start if variant == "none" else run.train(variant, start, steps=arguments.steps)
            accuracies = measure(read_model(model), initial.inference, folder / "features")
            found.setdefault(variant, []).append(accuracies)
            print(f"seed {seed}, {variant}: {json.dumps(accuracies)}", flush=True)
    print(table(found))


class FullObjective(Objective):
    """The losses of OVR, with text embeddings that are computed in each step, so that their tower trains."""

    def __init__(
        self,
        network: SegmentationNetwork,
        settings: StageConfig,
        *,
        vocabulary: Vocabulary,
        templates: tuple[str, ...],
        bfloat16: bool,
    ) -> None:
        categories = embed_vocabulary(network, vocabulary, templates)
        super().__init__(network, settings, categories=categories, bfloat16=bfloat16)
        self.names = [name for category in vocabulary.categories for name in category.names]
        self.templates = templates

    def forward(self, crops: Sequence[Crop]) -> dict[str, LossTerm]:
        """Embed the class names, then compute the loss terms."""
        before = self.categories
        self.categories = CategoryEmbeddings.shared(
            self.network.embed_names(self.names, self.templates),
            before.category_of_embedding,
            before.category_count,
        )
        return super().forward(crops)


@dataclass(frozen=True, slots=True)
class Run:
    """Trainings with one seed; completed ones are not repeated.

    Attributes:
        folder: for checkpoints and training states.
        seed: of samples and points.
        size: of the crops.
    """

    folder: Path
    seed: int
    size: int

    def start(self, aligned: Path, *, steps: int) -> Path:
        """Train nano's decoders with the encoder of `aligned`, which stays frozen; return the checkpoint."""
        settings = self._settings("start", steps, rate=START_RATE)
        if not self._is_finished(settings):
            model = read_model(embedded_path())
            model.network.encoder.load_state_dict(read_model(aligned).network.encoder.state_dict())
            self._train(model, settings)
        return self.folder / "start" / MODEL_FILE

    def train(self, variant: str, start: Path, *, steps: int) -> Path:
        """Train a variant from the checkpoint `start`; return its checkpoint."""
        ovr = OvrConfig(encoder_lr_multiplier=ENCODER_LR_MULTIPLIER)
        settings = self._settings(variant, steps, rate=RATE).model_copy(update={"ovr": ovr})
        if not self._is_finished(settings):
            self._train(read_model(start), settings)
        return self.folder / variant / MODEL_FILE

    def _settings(self, name: str, steps: int, *, rate: float) -> StageConfig:
        """Return the settings that all trainings share."""
        return StageConfig(
            name=name,
            data=tuple(map(_data, TRAINED)),
            schedule=ScheduleConfig(
                steps=steps,
                batch_size=4,
                learning_rate=rate,
                max_grad_norm=1.0,
                warmup_steps=10,
                decay="cosine",
            ),
            crop=CropConfig(size=self.size, scales=(0.85, 1.8), fit="short side", color_jitter=True),
            loss=LossConfig(points=768),
        )

    def _fingerprint(self, settings: StageConfig) -> dict[str, Any]:
        """Return what a training depends on besides the initial model."""
        return settings.model_dump(mode="json") | {"seed": self.seed}

    def _is_finished(self, settings: StageConfig) -> bool:
        """Return whether an earlier run did this training.

        Raises:
            TrainingError: it did so with other settings.
        """
        folder = self.folder / settings.name
        if not (folder / MODEL_FILE).is_file():
            return False
        file = folder / SETTINGS_FILE
        check_settings(file, json.loads(file.read_text(encoding="utf-8")), self._fingerprint(settings))
        return True

    def _train(self, model: InitialModel, settings: StageConfig) -> None:
        """Train a model in place, and write it."""
        folder = self.folder / settings.name
        folder.mkdir(parents=True, exist_ok=True)
        names = Vocabulary.read(HERE / "class-names.txt")
        data = DataOpener(HERE, names, is_main=True).open(settings, check=False)
        vocabulary = _trained_names(names, data)
        data = DataOpener(HERE, vocabulary, is_main=True).open(settings, check=False)
        network, templates = model.network, model.config.templates
        stage = stage_of(settings)
        bfloat16 = choose_dtype("auto", network.encoder.device) == torch.bfloat16
        objective = Objective(
            network, settings, categories=embed_vocabulary(network, vocabulary, templates), bfloat16=bfloat16
        )
        if settings.name == "full":
            parts = {name.partition(".")[0] for name, _ in network.encoder.named_parameters()}
            stage = replace(stage, name="full", encoder_parts=tuple(sorted(parts)))
            objective = FullObjective(
                network, settings, vocabulary=vocabulary, templates=templates, bfloat16=bfloat16
            )
        fingerprint = self._fingerprint(settings)
        trainer = StageTrainer(
            objective,
            stage,
            data.samples(settings, seed=self.seed),
            accelerator=make_accelerator(
                TrainConfig(start=StartConfig(model="-"), vocabulary="-", stages=(settings,))
            ),
            seed=self.seed,
            options=RunOptions(folder=folder, save_every=50, workers=0, fingerprint=fingerprint),
        )
        trainer.run()
        text = json.dumps(fingerprint, indent=1).encode()
        write_atomically(folder / SETTINGS_FILE, lambda file: file.write(text))
        native.save(
            folder / MODEL_FILE,
            network,
            config=model.config,
            training_vocabulary=vocabulary,
            provenance={"family": "nano", "variant": settings.name},
        )


def _trained_names(names: Vocabulary, data: StageData) -> Vocabulary:
    """Return the categories that the datasets have, with all their names."""
    chosen = sorted({index for mapping in data.category_maps for index in mapping.values()})
    return replace(names, categories=tuple(names.categories[index] for index in chosen))


def measure(model: InitialModel, inference: InferenceConfig, folder: Path) -> dict[str, float]:
    """Return the accuracy of a model's encoder on each group of images or masks, in percent.

    Args:
        model: the model.
        inference: test size.
        folder: cache of pooled features.
    """
    network = model.network.eval()
    assert isinstance(network.encoder, NanoEncoder)
    pooler = Pooler(network.encoder.visual_trunk, inference, folder=folder)
    found = _on_class_images(model, pooler)
    seen: set[str] = set()
    for name in TRAINED:
        source = open_source(_data(name).model_copy(update={"held_out": 0.0}), base=HERE)
        held_out = tuple(record for record in source.records if is_held_out(record.image, HELD_OUT))
        names = [category.name for category in source.dataset.categories]
        correct, _ = _classify(model, pooler.segments(replace(source, records=held_out)), names)
        found[name] = _percent(correct)
        seen.update(names)
    source = open_source(DataConfig(path=f"{DATASETS}/msrc_dev"), base=HERE)
    names = [category.name for category in source.dataset.categories]
    correct, labels = _classify(model, pooler.segments(source), names)
    is_seen = torch.tensor([label in seen for label in labels])
    return found | {
        f"MSRC, {len(seen & set(names))} seen names": _percent(correct[is_seen]),
        f"MSRC, {len(set(names) - seen)} unseen names": _percent(correct[~is_seen]),
    }


def _on_class_images(model: InitialModel, pooler: Pooler) -> dict[str, float]:
    """Return the accuracy among all of ImageNet's names, for classes with and without alignment."""
    folder = Path(expand_variables(f"{DATASETS}/imagenet_names"))
    entries = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    name_of = {entry["wnid"]: entry["name"] for entry in entries}
    pooled = pooler.class_images(folder)
    held_out = torch.tensor([is_held_out(pooled.names[label], HELD_OUT_CLASSES) for label in pooled.labels])
    named = replace(pooled, names=tuple(name_of[wnid] for wnid in pooled.names))
    correct, _ = _classify(model, named, sorted(set(named.names)))
    return {
        "ImageNet, aligned names": _percent(correct[~held_out]),
        "ImageNet, other names": _percent(correct[held_out]),
    }


@torch.no_grad()
def _classify(
    model: InitialModel, pooled: PooledSegments, names: Sequence[str]
) -> tuple[Bool[Tensor, " segment"], list[str]]:
    """Return whether the best of `names` is right for each segment, and its true name."""
    network = model.network
    assert isinstance(network.encoder, NanoEncoder)
    texts = network.embed_names(names, model.config.templates)
    best = (network.encoder.projection(pooled.features) @ texts.T).argmax(dim=-1).tolist()
    labels = [pooled.names[label] for label in pooled.labels.tolist()]
    return torch.tensor([names[index] == label for index, label in zip(best, labels, strict=True)]), labels


def _percent(correct: Bool[Tensor, " segment"]) -> float:
    return round(100 * correct.float().mean().item(), 2)


def _data(name: str) -> DataConfig:
    return DataConfig(path=f"{DATASETS}/{name}", unlabeled="unknown", held_out=HELD_OUT)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return mean and standard deviation over the seeds as a Markdown table, one row per variant or model."""
    groups = list(next(iter(found.values()))[0])
    lines = [["", *groups], ["---"] * (1 + len(groups))]
    for variant, runs in found.items():
        lines.append([variant, *(_spread([run[group] for run in runs]) for group in groups)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
