"""`ovrcoat models`: list the models that can be used by name."""

from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_line, print_table


def models(*, download: str | None = None, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the models that --model and --masks accept by name, and how to install those that are missing.

    Parameters
    ----------
    download
        Download a model from the Hugging Face Hub instead (hf://OWNER/REPO[/FILE][@REVISION]). `--model` then
        accepts this address.
    json
        Print one JSON document instead of a table.
    """
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
