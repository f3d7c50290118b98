"""`ovrcoat models`: list the models that can be used by name."""

from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_table


def models(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the models that --model and --masks accept by name, and how to install those that are missing.

    Parameters
    ----------
    json
        Print one JSON document instead of a table.
    """
    from ovrcoat.checkpoints.catalog import list_models

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
