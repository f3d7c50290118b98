"""The verbs that write, as functions that can be run again and again in one process, with tiny models."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import tiny_training
from dataset_trees import build_ade20k, halves, save
from labelled_images import make_labelled_folder
from ovrcoat.cli import evaluate_options, options
from ovrcoat.cli.evaluate import evaluate
from ovrcoat.cli.prepare import prepare
from ovrcoat.cli.segment import segment
from ovrcoat.config import InferenceConfig, ModelConfig, NanoConfig, NanoTextConfig
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import train
from ovrcoat.vocabulary import Vocabulary
from tiny_network import make_network

ADE20K = "ADEChallengeData2016"
NOT_COMPARED = {"created", "timing", "seconds", "source"}  # times, and paths of images


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with what it needs.

    Attributes:
        prepare: makes the inputs in a folder.
        run: runs the verb in that folder; its results are below "out".
        skipped: names of files in "out" that are no results.
    """

    prepare: Callable[[Path], object]
    run: Callable[[Path], int | Path | None]
    skipped: tuple[str, ...] = ()

    def results(self, folder: Path) -> dict[str, Any]:
        """Return the contents of all files by their paths, without what differs between equal runs."""
        paths = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): _content(path) for path in paths if path.name not in self.skipped
        }


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        lines = [_without_times(json.loads(line)) for line in path.read_text().splitlines()]
        return sorted(lines, key=json.dumps)  # a resumed run appends the images that were not done
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_times(inner) for key, inner in value.items() if key not in NOT_COMPARED}
        if "annotations" in kept:  # a resumed run appends the images that were not done
            kept["images"].sort(key=lambda image: image["id"])
            kept["annotations"].sort(key=lambda entry: entry["image_id"])
        return kept
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def tiny_segmenter() -> Segmenter:
    """The model of the fixture of the same name."""
    config = ModelConfig(
        encoder=NanoConfig(embedding_dim=16, text=NanoTextConfig(width=16, heads=2)),
        inference=InferenceConfig(short_side=64, max_long_side=128, overlap_threshold=0.2),
        templates=("a photo of a {}.",),
    )
    return Segmenter(
        make_network(),
        config=config,
        training_vocabulary=Vocabulary.parse("cat; sky#stuff"),
        provenance={"source": "random weights"},
        device="cpu",
    )


def make_images(folder: Path) -> None:
    """Two images for `segment`."""
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")


def run_segment(folder: Path) -> int:
    """Two formats, so that files of an exporter and its lines are written, too."""
    prompt = options.PromptOptions(vocabulary="cat; dog; sky#stuff", background="none")
    output = options.OutputOptions(output=folder / "out", format="coco-panoptic,jsonl,labelme", quiet=True)
    return segment([str(folder / "images")], prompt=prompt, output=output)


def make_labels(folder: Path) -> None:
    """Labeled images for `evaluate`."""
    make_labelled_folder(folder / "data", tiny_segmenter(), images=2)


def run_evaluate(folder: Path) -> int:
    """With saved predictions."""
    out = folder / "out"
    return evaluate(
        data=evaluate_options.DataOptions(data=str(folder / "data")),
        protocol=evaluate_options.ProtocolOptions(trust="0.5"),
        output=evaluate_options.OutputOptions(output=out, save_predictions=out / "predictions", quiet=True),
    )


def make_configuration(folder: Path) -> None:
    """Two steps, of which each is saved and validated."""
    validation = {"data": {"path": "full"}, "every": 1, "limit": 1}
    crop = {"size": 32, "scales": [0.8, 1.6], "fit": "short side"}
    stages = [tiny_training.stage("one", steps=2, validation=validation, crop=crop)]
    folder.mkdir(parents=True)
    values = tiny_training.settings(folder, output=folder / "out", stages=stages, save_every=1)
    tiny_training.write(folder / "run.yaml", values)


def run_train(folder: Path) -> Path:
    """The output folder is in the configuration, which may have been copied from elsewhere."""
    config = read_config(folder / "run.yaml", [f"output={folder / 'out'}"])
    return train(config, base=folder)


def make_release(folder: Path) -> None:
    """ADE20K with two images, without panoptic files."""
    root = folder / "out" / ADE20K
    build_ade20k(root)
    for path in (root / "ade20k_panoptic_val.json", *root.glob("ade20k_panoptic_val/*")):
        path.unlink()
    second = "ADE_val_00000002.png"
    save(root / "annotations/validation" / second, halves(3, 150))
    save(root / "annotations_instance/validation" / second, np.stack([halves(0, 100)] * 3, axis=-1))


def run_prepare(folder: Path) -> int:
    """Results are next to the release."""
    return prepare("ade20k", folder / "out", quiet=True)


VERBS = {
    "segment": Verb(make_images, run_segment),
    "evaluate": Verb(make_labels, run_evaluate, skipped=("report.md", "journal.jsonl", "annotations.jsonl")),
    "train": Verb(make_configuration, run_train, skipped=("state.pt",)),
    "prepare": Verb(make_release, run_prepare),
}


def use_tiny_models() -> None:
    """Let the verbs use `tiny_segmenter` instead of a model that takes seconds."""
    torch.set_num_threads(1)
    segmenter = tiny_segmenter()
    Segmenter.load = classmethod(lambda cls, *arguments, **more: segmenter)  # type: ignore[method-assign,assignment]


def copy_inputs(source: Path, target: Path) -> Path:
    """Copy what `Verb.prepare` has made, with the times of the files."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
