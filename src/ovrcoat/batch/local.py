"""The local engine: the processors of one machine segment the parts of one shard."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from math import ceil
from multiprocessing import connection, get_context, parent_process
from multiprocessing.queues import SimpleQueue

from ovrcoat.batch.destination import Counts, Destination
from ovrcoat.batch.item import Item
from ovrcoat.batch.settings import BatchSettings, RowPredictor
from ovrcoat.errors import OutputError, OvrcoatError
from ovrcoat.system.shard import Shard
from ovrcoat.system.signals import interrupts_blocked

OnPart = Callable[[int], object]  # receives the number of images of a part that was finished
_QUEUED = 2  # parts per worker that are handed out at a time


@dataclass(frozen=True, slots=True)
class Parts:
    """All images of a run, divided into parts.

    Attributes:
        items: the images, in order.
        length: images per part; the last part may be shorter.
    """

    items: Sequence[Item]
    length: int

    def __len__(self) -> int:
        return ceil(len(self.items) / self.length)

    def __getitem__(self, part: int) -> list[Item]:
        return list(self.items[part * self.length : (part + 1) * self.length])


def run_local(
    parts: Parts,
    destination: Destination,
    *,
    settings: BatchSettings,
    predictor: RowPredictor,
    shard: Shard,
    workers: int,
    on_part: OnPart,
) -> Counts:
    """Do the unfinished parts of a shard, and count the rows of all of its parts.

    Args:
        parts: of all shards.
        destination: opened already.
        settings: with which worker processes load the model.
        predictor: for a single worker, which is this process.
        shard: which parts to do.
        workers: number of processes. With several CUDA devices, each process has one.
        on_part: called after each part, and at once for parts that are finished already.

    Returns:
        The rows in the files of the shard. Their sum equals the number of images of the shard.

    Raises:
        OutputError: a file cannot be written, another process has the shard, or the counts differ.
        OvrcoatError: a worker process ended unexpectedly.
    """
    own = shard.select(range(len(parts)))
    with destination.lock(shard):
        pending = []
        for part in own:
            if destination.is_finished(part):
                on_part(len(parts[part]))
            else:
                pending.append(part)
        if workers == 1 or len(pending) <= 1:
            for part in pending:
                destination.write_part(part, *predictor.predict(parts[part]))
                on_part(len(parts[part]))
        else:
            _run_workers(parts, pending, destination, settings=settings, workers=workers, on_part=on_part)
        counts = destination.count(own)
    expected = sum(len(parts[part]) for part in own)
    if counts.images + counts.quarantined != expected:
        raise OutputError(
            f"{destination.folder} has {counts.images} rows and {counts.quarantined} quarantined images, "
            f"expected {expected} in total; another program changed its files: use a new output folder"
        )
    return counts


def _run_workers(
    parts: Parts,
    pending: Sequence[int],
    destination: Destination,
    *,
    settings: BatchSettings,
    workers: int,
    on_part: OnPart,
) -> None:
    context = get_context("spawn")  # a forked process cannot use CUDA, nor the threads of torch
    devices: SimpleQueue[str | None] = context.SimpleQueue()
    for device in _devices(settings.device, workers):
        devices.put(device)
    settings = replace(settings, threads=max(1, (os.cpu_count() or 1) // workers))
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(settings, destination, devices)
    )
    remaining = iter(pending)
    running: dict[Future[None], int] = {}
    try:
        while True:
            while len(running) < _QUEUED * workers and (part := next(remaining, None)) is not None:
                with interrupts_blocked():  # this starts the workers
                    running[pool.submit(_do_part, part, parts[part])] = part
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                on_part(len(parts[running.pop(future)]))
    except BrokenProcessPool as error:
        raise OvrcoatError(
            "a worker process ended unexpectedly (killed, or out of memory); finished parts are kept: repeat "
            "the command, perhaps with fewer --workers"
        ) from error
    finally:
        for process in list((pool._processes or {}).values()) if running else []:
            process.terminate()  # an interrupt or an error: what a worker has begun is done again later
        pool.shutdown(cancel_futures=True)


def _devices(device: str | None, workers: int) -> list[str | None]:
    """Return the device of each worker: one CUDA device each where there are several."""
    import torch

    count = torch.cuda.device_count() if device in (None, "cuda") else 0
    return [f"cuda:{worker % count}" if count > 1 else device for worker in range(workers)]


# Of a worker process: set once by `_start_worker`.
_worker: tuple[RowPredictor, Destination] | None = None


def _start_worker(
    settings: BatchSettings, destination: Destination, devices: "SimpleQueue[str | None]"
) -> None:
    """Load the model in a worker process, which ends when its parent has ended."""
    global _worker  # noqa: PLW0603 - a pool has no other place for the state of a process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers; Windows cannot block it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = (RowPredictor(replace(settings, device=devices.get())), destination)


def _end_with_parent() -> None:
    """End this process when its parent has ended, also by SIGKILL: a pool would wait forever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _do_part(part: int, items: list[Item]) -> None:
    assert _worker is not None
    predictor, destination = _worker
    destination.write_part(part, *predictor.predict(items))
