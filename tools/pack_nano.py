"""Put a finished training of nano into the package, in half precision.

    ovrcoat train configs/nano.yaml
    python tools/pack_nano.py runs/nano

The text tower, which no stage trains, lies in a file of its own: git and pip need not carry it again.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch

from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.training.config import read_config
from ovrcoat.training.run import MODEL_FILE
from ovrcoat.training.state import check_settings
from ovrcoat.vocabulary import Vocabulary

CONFIG = Path(__file__).parents[1] / "configs/nano.yaml"
LICENCE = "Apache-2.0; trained on images with terms of their own, see docs/nano.md"
TEXT_PART = {"nano-text.safetensors": ("encoder.text_tower.",)}


def main() -> None:
    """Read the arguments; print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of the training")
    parser.add_argument("--config", type=Path, default=CONFIG, help="its configuration")
    parser.add_argument("--target", type=Path, default=embedded_path(), help="file to write")
    arguments = parser.parse_args()
    pack(arguments.run, arguments.config, target=arguments.target)
    for file in sorted(arguments.target.parent.glob("*.safetensors")):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def pack(run: Path, config: Path, *, target: Path) -> None:
    """Write the last stage's checkpoint to `target`, with text rows of the words that are asked most.

    Raises:
        TrainingError: `run` was trained with other settings than `config` holds.
    """
    for stage in read_config(config).stages:
        settings = run / stage.name / "settings.json"
        trained = json.loads(settings.read_text(encoding="utf-8"))
        check_settings(settings, trained, stage.model_dump(mode="json"))
    model = native.load(run / stage.name / MODEL_FILE)
    with torch.no_grad():
        for parameter in model.network.parameters():  # text rows of the tower as it will be stored
            parameter.copy_(parameter.half())
        known = known_names()
        rows = model.network.embed_names(known, model.config.templates)
    native.save(
        target,
        model.network,
        config=model.config,
        training_vocabulary=model.training_vocabulary,
        provenance=model.provenance
        | {
            "made_by": f"tools/pack_nano.py of ovrcoat {__version__}",
            "config": config.name,
            "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
            "licence": LICENCE,
        },
        dtype=torch.float16,
        parts=TEXT_PART,
        text_embeddings=dict(zip(known, rows, strict=True)),
    )


def known_names() -> list[str]:
    """Names whose rows are shipped, since nearly every call asks them: the background words and COCO's."""
    background = Vocabulary.of("-").with_background("on").background
    groups = (*background, *Vocabulary.named("coco").categories)
    return list(dict.fromkeys(name for category in groups for name in category.names))


if __name__ == "__main__":
    main()
