"""What the tests of the server share."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx

MakeClient = Callable[..., AbstractContextManager[httpx.Client]]


@contextmanager
def serve(segmenter: Any, **settings: object) -> Iterator[httpx.Client]:
    """Run a uvicorn server in a thread, on a free port; the value is a client of it."""
    from ovrcoat.server.addresses import allowed_hosts
    from ovrcoat.server.app import create_app
    from ovrcoat.server.listening import make_server, open_socket, url_of
    from ovrcoat.server.settings import ServerSettings

    app = create_app(
        segmenter,
        model="nano",
        settings=ServerSettings(**{"allowed_hosts": allowed_hosts("127.0.0.1"), **settings}),
    )
    ready = threading.Event()
    with open_socket("127.0.0.1", 0) as listener:
        server = make_server(app, grace_seconds=20.0, on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(20)
            with httpx.Client(base_url=url_of(listener, "127.0.0.1"), timeout=60) as client:
                client.app = app  # type: ignore[attr-defined]
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_until(is_true: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Wait until a condition holds; return whether it does."""
    end = time.monotonic() + seconds
    while not (held := is_true()) and time.monotonic() < end:  # once is enough: it may change again at once
        time.sleep(0.01)
    return held
