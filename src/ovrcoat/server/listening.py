"""Sockets and the uvicorn server on them."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ovrcoat.errors import ConfigError
from ovrcoat.system.signals import PATIENCE
from ovrcoat.system.visible_text import visible_lines

MAX_PORT = 65_535
STALLED_SECONDS = 60  # a connection whose client accepts no data for so long is closed


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to a host and port; port 0 is a free one.

    Raises:
        ConfigError: the address does not exist, is in use, or may not be used.
    """
    if not 0 <= port <= MAX_PORT:
        raise ConfigError(f"the port is {port}, expected 0 to {MAX_PORT}; 0 chooses a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"there is no address {host!r}, port {port} ({error}); expected for example 127.0.0.1 and 8000"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_SECONDS * 1000)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}); choose another --port, or 0 "
            "for a free one"
        ) from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """Return the address of the page on a listening socket."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(app: FastAPI, *, grace_seconds: float, on_ready: Callable[[], None]) -> uvicorn.Server:
    """Return a server whose `run` serves an application until SIGINT, SIGTERM or SIGHUP.

    Requests that are being processed are then finished, and `run` raises the signal again. A further SIGINT,
    at least `PATIENCE` seconds later, gives up these requests.

    Args:
        app: the application.
        grace_seconds: how long to wait for these requests.
        on_ready: called once requests are accepted.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(grace_seconds) + 1,
    )
    return _Server(config, on_ready)


class LogFormatter(logging.Formatter):
    """Formats lines and tracebacks of the log, which can quote what clients send."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line, and further ones for a traceback."""
        return visible_lines(super().format(record))


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": LogFormatter, "format": "%(levelname)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}


class _Server(uvicorn.Server):
    """Reports when it is ready, and stops the same way for all signals."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._stopping_since = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept requests."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP, too, unless it is ignored (nohup)."""
        number = getattr(signal, "SIGHUP", None)
        is_main = threading.current_thread() is threading.main_thread()  # no other one can handle signals
        with super().capture_signals():
            if number is None or not is_main or signal.getsignal(number) == signal.SIG_IGN:
                yield
                return
            earlier = signal.signal(number, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(number, earlier)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; several Ctrl-C in a row are one."""
        if not self.should_exit:
            self._stopping_since = time.monotonic()
            super().handle_exit(sig, frame)
        elif sig == signal.SIGINT and time.monotonic() - self._stopping_since > PATIENCE:
            # what is given up would be logged as an error, with tracebacks
            logging.getLogger("uvicorn.error").disabled = True
            super().handle_exit(sig, frame)
