"""The other side of a call: a mail server that keeps every call that it got."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mail(ThreadingHTTPServer):
    """Remembers every key that it was given, and what came with it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.bodies: list[bytes] = []
        self.status = 204
        """What it answers."""
        super().__init__(("127.0.0.1", 0), Desk)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Desk(BaseHTTPRequestHandler):
    """Takes one call."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Mail)
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's own name
        """Say nothing."""


@contextmanager
def answering() -> Iterator[Mail]:
    """A mail server that runs."""
    with Mail() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
