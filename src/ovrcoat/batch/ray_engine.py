"""The Ray engine: Ray Data distributes the images over a machine or a cluster, and resumes by its checkpoint.

Ray reads the list of images from DEST/ray/items, keeps one model per actor, and writes all rows to
DEST/ray/rows, each exactly once. When it has finished, they are divided into DEST/images and
DEST/quarantine. Scheduling, retries and back-pressure are Ray's.
"""

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ovrcoat.batch.destination import Counts, Destination, count_rows, write_durably
from ovrcoat.batch.item import Item
from ovrcoat.batch.local import Parts
from ovrcoat.batch.schema import image_schema, item_schema, parquet_bytes, quarantine_schema
from ovrcoat.batch.settings import BatchSettings, RowPredictor
from ovrcoat.errors import ConfigError, OutputError, OvrcoatError
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.shard import Shard

_FREE_CPUS = 2  # of a local cluster, for reading and writing besides the actors
_CONNECTION_SECONDS = 10
_MAX_REASON = 300  # characters


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where and how Ray works.

    Attributes:
        address: of an existing cluster, or "auto". None: Ray is started on this machine.
        workers: maximum number of actors. None: as many as the cluster has resources for.
        gpus: GPUs of one actor. None: 1 if the cluster has any, else 0.
        progress: show Ray's progress bars.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    progress: bool = False


def run_ray(
    parts: Parts, destination: Destination, *, settings: BatchSettings, options: RayOptions
) -> Counts:
    """Segment all images that have no row yet, and count the rows.

    Args:
        parts: the images; a part is the unit that Ray schedules and writes.
        destination: opened already, on a disk that all machines of the cluster share.
        settings: with which actors load the model.
        options: of Ray.

    Raises:
        OutputError: a file cannot be written, another process uses the folder, or the counts differ.
        ConfigError: there is no cluster at the address.
        MissingExtraError: Ray is not installed.
    """
    import_optional("ray.data", extra="ray")
    folder = destination.folder.absolute() / "ray"
    with destination.lock(Shard()):
        counts = _count(destination)
        if counts.images + counts.quarantined < len(parts.items):
            _write_items(parts, folder / "items")
            _segment(folder, part_count=len(parts), batch=parts.length, settings=settings, options=options)
            for path in sorted((folder / "rows").glob("*.parquet")):
                _publish(path, destination)
            counts = _count(destination)
    if counts.images + counts.quarantined != len(parts.items):
        raise OutputError(
            f"{destination.folder} has {counts.images} rows and {counts.quarantined} quarantined images, "
            f"expected {len(parts.items)} in total; use a new output folder"
        )
    return counts


def _write_items(parts: Parts, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(len(parts)):
        path = folder / f"part-{part:08d}.parquet"
        if not path.exists():
            write_durably(path, parquet_bytes([asdict(item) for item in parts[part]], item_schema()))


def _segment(
    folder: Path, *, part_count: int, batch: int, settings: BatchSettings, options: RayOptions
) -> None:
    """Let Ray segment the images that its checkpoint does not list."""
    ray = import_optional("ray", extra="ray")
    data = import_optional("ray.data", extra="ray")
    checkpoint = import_optional("ray.data.checkpoint", extra="ray")
    _connect(ray, options)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":  # it prints hundreds of lines for an error, which the log has too
            handler.setLevel(logging.CRITICAL)
    gpus = options.gpus if options.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
    context = data.DataContext.get_current()
    # Ray uses a checkpoint only for a plan that starts with a read and ends with a write
    context.checkpoint_config = checkpoint.CheckpointConfig(
        id_column="id", checkpoint_path=str(folder / "checkpoint"), delete_checkpoint_on_success=False
    )
    context.target_min_block_size = 1
    context.use_datasource_v2 = False  # it makes one block of all small files, and starts ten seconds later
    context.enable_progress_bars = options.progress
    try:
        images = data.read_parquet(str(folder / "items"), override_num_blocks=part_count)
        # one block per part: actors share the work by blocks, and Ray's checkpoint advances by blocks
        images = images.repartition(target_num_rows_per_block=batch)
        rows = images.map_batches(
            _Actor,
            fn_constructor_args=(settings,),
            batch_size=batch,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(
                min_size=1, max_size=options.workers, initial_size=options.workers
            ),
            num_cpus=1,
            num_gpus=gpus,
        )
        rows.write_parquet(str(folder / "rows"))
    except ray.exceptions.RayError as error:
        raise _without_traceback(error, folder.parent) from error
    finally:
        context.checkpoint_config = None
        if options.address is None:
            ray.shutdown()


def _connect(ray: Any, options: RayOptions) -> None:
    """Connect to the cluster, or start Ray with the processors of this machine."""
    if options.address is not None:
        try:
            _check_reachable(options.address)
            ray.init(address=options.address, log_to_driver=options.progress)
        except (OSError, ValueError, ray.exceptions.RayError) as error:  # such as a missing token
            raise ConfigError(
                f"cannot connect to Ray at {options.address!r} ({error}); see `ray status`, or start a "
                "cluster with `ray start --head`"
            ) from error
        return
    cpus = max(os.cpu_count() or 1, (options.workers or 1) + _FREE_CPUS)
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=options.progress)


def _check_reachable(address: str) -> None:
    """Raise an OSError if nothing listens at HOST:PORT, which Ray would try for more than ten minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:  # "auto" has no port
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECTION_SECONDS).close()


def _without_traceback(error: Any, folder: Path) -> OvrcoatError:
    """Return the cause of an error of Ray, whose own text is the traceback of another process."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, OvrcoatError):
        return cause
    reason = getattr(cause, "strerror", None) or (str(cause).splitlines() or [""])[0][:_MAX_REASON]
    return OutputError(
        f"{folder}: Ray could not finish ({type(cause).__name__}: {reason}); its log has the details. "
        "Finished parts are kept: repeat the command to continue"
    )


class _Actor:
    """Holds a model; Ray creates one per worker and calls it with tables of items."""

    def __init__(self, settings: BatchSettings) -> None:
        self._predictor = RowPredictor(settings)

    def __call__(self, items: Any) -> Any:
        """Return one row per item; the rows of unreadable images have a reason and nothing else."""
        pa = import_optional("pyarrow", extra="batch")
        rows, quarantined = self._predictor.predict([Item(**item) for item in items.to_pylist()])
        schema = image_schema().append(pa.field("reason", pa.string()))
        return pa.Table.from_pylist([*rows, *(one.to_row() for one in quarantined)], schema=schema)


def _publish(path: Path, destination: Destination) -> None:
    """Divide a file of rows into images and quarantine, and delete it.

    The new files have its name: if this is killed and repeated, it writes them again.
    """
    parquet = import_optional("pyarrow.parquet", extra="batch")
    rows = parquet.read_table(path).to_pylist()
    quarantined = [row for row in rows if row["reason"] is not None]
    if quarantined:
        names = quarantine_schema().names
        entries = [{name: row[name] for name in names} for row in quarantined]
        write_durably(destination.quarantine / path.name, parquet_bytes(entries, quarantine_schema()))
    images = [row for row in rows if row["reason"] is None]
    for row in images:
        del row["reason"]
    write_durably(destination.images / path.name, parquet_bytes(images, image_schema()))
    path.unlink()


def _count(destination: Destination) -> Counts:
    return Counts(
        images=count_rows(_files(destination.images)), quarantined=count_rows(_files(destination.quarantine))
    )


def _files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.parquet"))
