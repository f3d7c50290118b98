"""`ovrcoat models`: list the models that can be used by name, and the encoders to train with."""

from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_line, print_table


def models(
    *,
    encoders: Annotated[bool, Parameter(negative="")] = False,
    download: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """List the models that --model and --masks accept by name, and how to install those that are missing.

    Parameters
    ----------
    encoders
        List the encoders that training can start from (start.clip), with the license of their weights.
    download
        Download a model from the Hugging Face Hub instead (hf://OWNER/REPO[/FILE][@REVISION]). `--model` then
        accepts this address.
    json
        Print one JSON document instead of a table.
    """
    if encoders:
        return _list_encoders(json=json)
    from ovrcoat.checkpoints.catalog import find_model, list_models

    if download is not None:
        path = find_model(download, download=True)
        if json:
            print_json({"model": download, "path": str(path)})
        else:
            print_line(f"{download} → {path}")
        return 0
    entries = list_models()
    if json:
        print_json(
            [
                {
                    "name": entry.name,
                    "description": entry.description,
                    "path": None if entry.path is None else str(entry.path),
                    "remedy": entry.remedy,
                    "masks_only": entry.masks_only,
                }
                for entry in entries
            ]
        )
    else:
        print_table(
            ("name", "description", "path, or how to install it"),
            [
                (
                    entry.name,
                    entry.description,
                    str(entry.path) if entry.path else f"not installed: {entry.remedy}",
                )
                for entry in entries
            ],
        )
    return 0


def _list_encoders(*, json: bool) -> int:
    """List encoders without decoders: they segment nothing before training."""
    from ovrcoat.model.encoders.presets import encoder_presets

    presets = encoder_presets()
    if json:
        print_json(
            [
                {
                    "name": name,
                    "embedding_dim": preset.config.embedding_dim,
                    "weights": preset.tag,
                    "license": preset.license,
                }
                for name, preset in presets.items()
            ]
        )
    else:
        print_table(
            ("name", "embedding dimension", "OpenCLIP's weights", "license of the weights"),
            [
                (name, str(preset.config.embedding_dim), preset.tag or "none", preset.license or "")
                for name, preset in presets.items()
            ],
        )
    return 0
