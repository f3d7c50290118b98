"""`ovrcoat prepare`: create the panoptic files that a dataset's release lacks."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from tqdm import tqdm

from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_line, print_note
from ovrcoat.errors import ConfigError, DatasetError

COMPLETE = ("coco", "mapillary")  # their releases include panoptic files


def prepare(
    name: str,
    root: Path | None = None,
    /,
    *,
    split: Literal["val", "train"] = "val",
    published_areas: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Create the panoptic files that the releases of ADE20K and Cityscapes lack; rerun it to resume.

    Parameters
    ----------
    name
        ade20k or cityscapes; coco and mapillary need no preparation.
    root
        The folder of datasets, the dataset's own folder, or its zip file; files are written next to the
        release. [default: $OVRCOAT_DATASETS, $DETECTRON2_DATASETS or ./datasets]
    split
        Which split to prepare.
    published_areas
        ADE20K: write areas as the published script does, including wrong ones, to reproduce published
        results.
    overwrite
        Replace existing files.
    quiet
        Hide the progress bar and the summary.
    """
    with heavy_imports():
        from ovrcoat.data.ade20k_panoptic import prepare_ade20k
        from ovrcoat.data.catalog import find_root
        from ovrcoat.data.cityscapes_panoptic import prepare_cityscapes

    if published_areas and name != "ade20k":
        raise ConfigError(f"--published-areas applies to ade20k, not to {name}: omit it")
    track = partial(_with_progress_bar, quiet=quiet)
    if name == "ade20k":
        done = prepare_ade20k(
            find_root(root), split, overwrite=overwrite, published_areas=published_areas, track=track
        )
    elif name == "cityscapes":
        done = prepare_cityscapes(find_root(root), split, overwrite=overwrite, track=track)
    elif name in COMPLETE:
        if not quiet:
            print_note(f"{name} needs no preparation: its release includes panoptic files")
        return 0
    else:
        known = ("ade20k", "cityscapes", *COMPLETE)
        raise DatasetError(
            f"unknown dataset {name!r}; choose one of {', '.join(known)}. Your own folders need no "
            "preparation, exports of other tools included: check them with `ovrcoat check-data`"
        )
    if not quiet:
        files = ", ".join(map(str, done.documents))
        nothing = f"nothing to do: {files} already exist; --overwrite creates them again"
        print_line(f"{done.image_count} images → {files}" if done.image_count else nothing)
    return 0


def _with_progress_bar(items: Sequence[str], *, quiet: bool) -> Iterable[str]:
    return tqdm(items, unit="image", disable=True if quiet else None)  # None: only on a terminal
