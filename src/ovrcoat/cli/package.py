"""`ovrcoat package`: a model as a folder for the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ovrcoat.cli.terminal import print_json, print_line


def package(
    model: str,
    folder: Path,
    /,
    *,
    name: str | None = None,
    license: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a folder with a model and its model card, ready for upload to the Hugging Face Hub.

    Parameters
    ----------
    model
        A name from `ovrcoat models`, a path, or an address such as hf://OWNER/REPO.
    folder
        The folder to write. Upload it with: hf upload OWNER/REPO FOLDER.
    name
        Title of the model card. By default, the name of the folder.
    license
        License of the weights, such as apache-2.0. By default: other.
    overwrite
        Replace files in the folder.
    json
        Print one JSON document instead of the list of files.
    """
    from ovrcoat.checkpoints.catalog import find_model
    from ovrcoat.checkpoints.model_folder import write_model_folder

    written = write_model_folder(
        find_model(model), folder, name=name or folder.name, license=license, overwrite=overwrite
    )
    if json:
        print_json({"model": model, "folder": str(folder), "written": [str(path) for path in written]})
    else:
        print_line("\n".join(map(str, written)))
    return 0
