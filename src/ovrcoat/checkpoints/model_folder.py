"""A folder with one model and its card, in the layout of the Hugging Face Hub and hf:// addresses."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import IO

import yaml

from ovrcoat._version import __version__
from ovrcoat.checkpoints.hub import DEFAULT_FILE
from ovrcoat.checkpoints.native import Header, read_header
from ovrcoat.config import MaskDecoderConfig
from ovrcoat.errors import CheckpointError
from ovrcoat.system.atomic_write import check_replaceable, make_folder, write_atomically
from ovrcoat.system.input_files import WEIGHTS, open_input

CARD = "README.md"
CONFIG = "config.json"  # the Hub counts the downloads of this file
_NAMES_SHOWN = 20  # training categories in the card


def write_model_folder(
    model: Path, folder: Path, *, name: str, license: str | None = None, overwrite: bool = False
) -> tuple[Path, ...]:
    """Copy a model with its shards into a folder, and write its configuration and a model card.

    Args:
        model: the main file of the model.
        folder: created if it does not exist.
        name: title of the card.
        license: license of the weights, by its identifier on the Hub such as "apache-2.0". None: "other".
        overwrite: allow files to be replaced.

    Returns:
        The files that were written.

    Raises:
        CheckpointError: `model` is not an ovrcoat checkpoint, or a shard is missing.
        OutputError: a file exists, or cannot be written.
    """
    header = read_header(model)
    copies = {folder / shard: model.with_name(shard) for shard in header.shards}
    copies[folder / DEFAULT_FILE] = model  # last: with it, the model is complete
    if missing := [source.name for source in copies.values() if not source.is_file()]:
        raise CheckpointError(
            f"{model.name} needs {', '.join(missing)} in the same folder; copy all its files"
        )
    texts = {
        folder / CONFIG: json.dumps(_config(header), indent=2) + "\n",
        folder / CARD: _card(header, name=name, license=license or "other"),
    }
    for path in (*copies, *texts):
        check_replaceable(path, overwrite=overwrite)
    make_folder(folder)
    for path, source in copies.items():
        write_atomically(path, partial(_copy, source))
    for path, text in texts.items():
        write_atomically(path, partial(_write, text))
    return (*copies, *texts)


def _copy(source: Path, file: IO[bytes]) -> None:
    with open_input(source, WEIGHTS) as content:
        shutil.copyfileobj(content, file, length=1 << 20)


def _write(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _config(header: Header) -> dict[str, object]:
    return {"library_name": "ovrcoat", "ovrcoat": __version__, **header.config.model_dump(mode="json")}


def _card(header: Header, *, name: str, license: str) -> str:
    """Return the model card: what the checkpoint records, and gaps where only its author knows more."""
    front = {
        "library_name": "ovrcoat",
        "license": license,
        "pipeline_tag": "image-segmentation",
        "tags": ["panoptic-segmentation", "open-vocabulary", header.config.encoder.family],
    }
    names = [category.name for category in header.training_vocabulary.categories]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    inference = header.config.inference
    origin = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in header.provenance.items())
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {name}

A model for open-vocabulary panoptic segmentation with [ovrcoat](https://pypi.org/project/ovrcoat).

```bash
pip install ovrcoat
ovrcoat models --download hf://OWNER/REPO
ovrcoat segment photo.jpg --model hf://OWNER/REPO --vocabulary "cat; sofa; wall#stuff"
```

## Model

| | |
|---|---|
| image encoder | {header.config.encoder.family} |
| queries | {_queries(header.config.mask_decoder)} |
| size of images | short side {inference.short_side}, long side at most {inference.max_long_side} pixels |
| trust in CLIP (γ) | {inference.trust} |
| training vocabulary | {len(names)} categories: {_cell(", ".join(names[:_NAMES_SHOWN]))}{more} |

## Origin

| | |
|---|---|
{origin}

## Training data, evaluation and limits

Please describe the training data with its terms, measured results with the command that gave them, and known
limits.
"""


def _queries(decoder: MaskDecoderConfig) -> str:
    if not decoder.selected_queries:
        return str(decoder.queries)
    local = " with local masks" if decoder.local_masks else ""
    return f"{decoder.queries} learned, {decoder.selected_queries} selected{local}"


def _cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
