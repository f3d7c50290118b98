"""`ovrcoat prepare`: the panoptic files that a data set's release lacks."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from tqdm import tqdm

from ovrcoat.cli.terminal import print_line, print_note
from ovrcoat.errors import ConfigError, DatasetError

COMPLETE = ("coco", "mapillary")  # their releases have panoptic files


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
    """Make the panoptic files that the releases of ADE20K and Cityscapes lack; start it again to go on.

    Parameters
    ----------
    name
        ade20k or cityscapes; coco and mapillary need no preparation.
    root
        The folder of data sets, the data set's own folder, or its zip file; the files are made beside the
        release. [default: $OVRCOAT_DATASETS, $DETECTRON2_DATASETS or ./datasets]
    split
        Which part.
    published_areas
        ADE20K: write areas as the published script does, wrong ones included, to reproduce published numbers.
    overwrite
        Also replace files that are there.
    quiet
        No progress bar and no closing line.
    """
    from ovrcoat.data.ade20k_panoptic import prepare_ade20k
    from ovrcoat.data.catalog import find_root
    from ovrcoat.data.cityscapes_panoptic import prepare_cityscapes

    if published_areas and name != "ade20k":
        raise ConfigError(f"--published-areas is for ade20k, not for {name}: leave it out")
    track = partial(_with_bar, quiet=quiet)
    if name == "ade20k":
        done = prepare_ade20k(
            find_root(root), split, overwrite=overwrite, published_areas=published_areas, track=track
        )
    elif name == "cityscapes":
        done = prepare_cityscapes(find_root(root), split, overwrite=overwrite, track=track)
    elif name in COMPLETE:
        if not quiet:
            print_note(f"{name} needs no preparation: its release has panoptic files")
        return 0
    else:
        known = ("ade20k", "cityscapes", *COMPLETE)
        raise DatasetError(f"unknown data set {name!r}; choose one of {', '.join(known)}")
    if not quiet:
        files = ", ".join(map(str, done.documents))
        there = f"nothing to do: {files} there already; --overwrite makes them again"
        print_line(f"{done.made} images → {files}" if done.made else there)
    return 0


def _with_bar(items: Sequence[str], *, quiet: bool) -> Iterable[str]:
    return tqdm(items, unit="image", disable=True if quiet else None)  # None: a bar on a terminal only
