"""Write a completed training of nano into the package, in half precision.

    python tools/nano/pack.py runs/nano

tools/nano/build.py does this at its end. No stage trains the text tower, so it is stored in a file of its
own, which then stays the same from one release to the next.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.config import with_inference_settings
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import MODEL_FILE, SETTINGS_FILE
from ovrcoat.training.state import check_settings
from ovrcoat.vocabulary import Vocabulary

CONFIG = Path(__file__).with_name("nano.yaml")
LICENSE = "Apache-2.0; trained on images with terms of their own, see docs/nano.md"
# Selected on held-out images (docs/nano-levers.md). The training matches several queries with each segment,
# so duplicates are removed at a low IoU.
INFERENCE = {"trust": "adaptive", "duplicate_iou": 0.2, "weight_by_stability": True}
TEXT_PART = {"nano-text.safetensors": ("encoder.text_tower.",)}


def main() -> None:
    """Read the arguments and print the files that were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of the training")
    parser.add_argument("--config", type=Path, default=CONFIG, help="its configuration")
    parser.add_argument("--target", type=Path, default=embedded_path(), help="file to write")
    arguments = parser.parse_args()
    pack(arguments.run, arguments.config, target=arguments.target)
    for file in sorted(arguments.target.parent.glob("*.safetensors")):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def pack(run: Path, config: Path, *, target: Path, overrides: Sequence[str] = ()) -> None:
    """Write the checkpoint of the last stage, with the text embeddings of common class names.

    Args:
        run: output folder of the training.
        config: its YAML file.
        target: file to write.
        overrides: changes of settings that the training was run with.

    Raises:
        TrainingError: `run` was trained with other settings.
    """
    for stage in read_config(config, overrides).stages:
        settings_file = run / stage.name / SETTINGS_FILE
        trained = json.loads(settings_file.read_text(encoding="utf-8"))
        check_settings(settings_file, trained, stage.model_dump(mode="json"))
    model = native.load(run / stage.name / MODEL_FILE)
    with torch.no_grad():
        for parameter in model.network.parameters():  # embed names with the weights as they will be stored
            parameter.copy_(parameter.half())
        names = common_names()
        embeddings = model.network.embed_names(names, model.config.templates)
    native.save(
        target,
        model.network,
        config=with_inference_settings(model.config, INFERENCE),
        training_vocabulary=model.training_vocabulary,
        provenance=model.provenance
        | {
            "made_by": f"tools/nano/pack.py of ovrcoat {__version__}",
            "config": config.name,
            "config_sha256": file_sha256(config),
            "license": LICENSE,
        },
        dtype=torch.float16,
        shards=TEXT_PART,
        text_embeddings=dict(zip(names, embeddings, strict=True)),
    )


def common_names() -> list[str]:
    """Return the class names that most vocabularies contain: the background classes and those of COCO."""
    background = Vocabulary.of("-").with_background("on").background
    groups = (*background, *Vocabulary.named("coco").categories)
    return list(dict.fromkeys(name for category in groups for name in category.names))


if __name__ == "__main__":
    main()
