"""A training that takes a second: a CLIP of a few thousand weights, images with two noisy colored halves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

import tiny_clip
from ovrcoat.checkpoints import native
from ovrcoat.config import ConvNextConfig, ModelConfig
from ovrcoat.model.network import build_network
from ovrcoat.vocabulary import Vocabulary

VOCABULARY = "cat, kitty#thing; sky#stuff"
VOID, CAT, SKY, ZEBRA = 0, 1, 2, 3  # ids of segments and of their categories; zebra is no training class
COLORS = {VOID: (90, 90, 90), CAT: (220, 40, 20), SKY: (30, 90, 230), ZEBRA: (240, 240, 240)}


def make_model(path: Path, *, drop_path: float = 0.0) -> Path:
    """A checkpoint of random weights; stochastic depth is off by default."""
    config = tiny_clip.make_config("convnext")
    assert isinstance(config.encoder, ConvNextConfig)
    encoder = config.encoder.model_copy(update={"drop_path": drop_path})
    config = ModelConfig.model_validate(config.model_dump() | {"encoder": encoder.model_dump()})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(config)
    vocabulary = Vocabulary.parse("cat")
    native.save(path, network, config=config, training_vocabulary=vocabulary, provenance={"source": "random"})
    return path


def make_images(root: Path, halves: Sequence[tuple[int, int]], *, crowds: Sequence[int] = ()) -> Path:
    """A labeled folder with an image of 36 × 48 for each pair of segments, left and right.

    A pair with `VOID` has no label there; segments of a category in `crowds` are crowds.
    """
    for part in ("images", "panoptic"):
        (root / part).mkdir(parents=True)
    images, annotations = [], []
    for number, (left, right) in enumerate(halves):
        name = f"{root.name}{number}.png"
        ids = np.full((36, 48), left, dtype=np.uint8)
        ids[:, 16 + 4 * number :] = right
        colors = np.array([COLORS[key] for key in range(4)])[ids]
        # flat images would have GroupNorm divide by nothing, and gradients of millions
        noise = np.random.default_rng(number).integers(-20, 21, colors.shape)
        pixels = (colors + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)
        Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], axis=-1)).save(root / "panoptic" / name)
        images.append({"id": number, "file_name": name, "height": 36, "width": 48})
        segments = [
            {"id": key, "category_id": key, "area": int((ids == key).sum()), "iscrowd": int(key in crowds)}
            for key in sorted({left, right} - {VOID})
        ]
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    names = {CAT: ("cat", 1), SKY: ("sky", 0), ZEBRA: ("zebra", 1)}
    categories = [{"id": key, "name": name, "isthing": thing} for key, (name, thing) in names.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(document))
    return root


def settings(
    folder: Path, *, output: Path, stages: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """A whole configuration as plain values; the model and the images are made if they are not there."""
    model = folder / "tiny.safetensors"
    if not model.exists():
        make_model(model)
    if not (folder / "full").exists():
        make_images(folder / "full", [(CAT, SKY), (SKY, CAT), (CAT, ZEBRA)])
        make_images(folder / "part", [(CAT, VOID), (VOID, VOID), (VOID, SKY)])
    base = {"start": {"model": "tiny.safetensors"}, "vocabulary": VOCABULARY, "output": str(output)}
    chosen: dict[str, Any] = {"precision": "float32", "workers": 0, "save_every": 2, "stages": list(stages)}
    return base | chosen | more


def stage(name: str, *, steps: int = 4, data: str = "full", **more: Any) -> dict[str, Any]:
    """One stage of a configuration; `schedule` in `more` is added to the usual one."""
    schedule = {
        "steps": steps,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "max_grad_norm": 1.0,
    }
    unlabeled = "unknown" if data == "part" else "void"
    usual: dict[str, Any] = {
        "name": name,
        "data": [{"path": data, "unlabeled": unlabeled}],
        "crop": {"size": 64, "scales": [0.8, 1.6], "fit": "short side"},
        "loss": {"points": 48},
    }
    return usual | more | {"schedule": schedule | more.get("schedule", {})}


def write(path: Path, values: Mapping[str, Any]) -> Path:
    """The YAML file of a configuration."""
    path.write_text(yaml.safe_dump(dict(values)))
    return path


def records(log: Path) -> list[dict[str, float]]:
    """The lines of a log, without times."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
