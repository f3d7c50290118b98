"""A lock that passes through pickle, copies and fork."""

import copy
import multiprocessing
import pickle
import threading
from collections.abc import Callable

import pytest

from ovrcoat.system.process_lock import ProcessLock


def is_free(lock: ProcessLock) -> bool:
    """Whether another thread can have the lock."""
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(0.5)


def test_one_thread_at_a_time() -> None:
    lock = ProcessLock()
    with lock, lock:
        assert not is_free(lock)
    assert is_free(lock)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))]
)
def test_a_copy_is_free(duplicate: Callable[[ProcessLock], ProcessLock]) -> None:
    lock = ProcessLock()
    with lock:
        assert is_free(duplicate(lock))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent() -> None:
    lock, release = ProcessLock(), threading.Event()

    def hold() -> None:
        with lock:
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    process = multiprocessing.get_context("fork").Process(target=lock.__enter__)
    process.start()
    process.join(10)
    release.set()
    holder.join()
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0
