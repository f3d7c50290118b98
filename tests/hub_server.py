"""A server on this machine that answers like the Hugging Face Hub, for tests of downloads."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The files of one repository, tests/model.

    Attributes:
        files: content by path.
        stated_sha256: by path, where it is not that of the content.
        gated: whether access must be requested.
        fetched: paths whose content was sent.
        url: address of the server.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    stated_sha256: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    fetched: list[str] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    """A server of one repository."""

    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, *, with_content: bool) -> None:
        hub = self.server.hub
        _, owner, repo, _, revision, *rest = self.path.split("/")
        name = "/".join(rest)
        if (owner, repo) != ("tests", "model"):
            self._refuse(404, "RepoNotFound")
        elif hub.gated:
            self._refuse(403, "GatedRepo")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif name not in hub.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._send(name, with_content=with_content)

    def _send(self, name: str, *, with_content: bool) -> None:
        hub = self.server.hub
        content = hub.files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        sha256 = hub.stated_sha256.get(name, hashlib.sha256(content).hexdigest())
        self.send_header("ETag", f'"{sha256}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            hub.fetched.append(name)
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run the server in a thread, on a free port."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hub = Hub(url=f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.hub
        finally:
            server.shutdown()
            thread.join()
