"""The options of `ovrcoat batch` besides those of `ovrcoat segment`. The strings are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """Distribution of the work."""

    engine: Literal["local", "ray"] = "local"
    """local: this machine; ray: Ray Data, on this machine or a cluster (pip install 'ovrcoat[ray]')."""

    shard: str = "1/1"
    """i/n: do the i-th of n disjoint shares; start one process per shard on any machine (local)."""

    workers: int | None = None
    """Number of processes that load the model. [default: one per GPU, else 1; ray: up to the cluster's
    resources]"""

    ray_address: str | None = None
    """Address of an existing Ray cluster, or auto. [default: start Ray on this machine]"""

    gpus_per_worker: float | None = None
    """GPUs of one Ray worker, such as 0.5: two workers share a GPU. [default: 1 if there are GPUs, else 0]"""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutputOptions:
    """Output."""

    output: Path
    """Folder for images/*.parquet, quarantine/*.parquet and run.json."""

    resume: bool = True
    """Continue an interrupted run with equal settings: finished parts are not done again."""

    images_per_file: int = 100
    """Images per Parquet file. A run that is killed loses at most the files in progress."""

    embeddings: Annotated[bool, Parameter(negative="")] = False
    """Add CLIP's embedding of every segment to the rows, for search and clustering."""

    png: Annotated[bool, Parameter(negative="")] = False
    """Add the id map to the rows, as a PNG file in COCO's panoptic format."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON document with the counts to stdout."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """Print only errors and warnings about the vocabulary."""
