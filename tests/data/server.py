"""A file server on the loopback interface that behaves as its routes say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Route:
    """How one address answers."""

    body: bytes = b""
    status: int = 200
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the connection is closed, request by request."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the first requests."""
    etag: str | None = '"one"'
    length: bool = True


class Server:
    """Routes by path, and a record of what was asked."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.routes: dict[str, Route] = {}
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return self.base + path

    @property
    def ranges(self) -> list[str | None]:
        return [header for _, header in self.asked]


@contextmanager
def serving() -> Iterator[Server]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server = Server(http.server_address[1])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            route = server.routes.get(self.path)
            if route is None or route.failures or route.status != 200:
                status = 404 if route is None else route.failures.pop(0) if route.failures else route.status
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, body = 0, route.body
            if wanted and route.ranges and self.headers.get("If-Range") in (None, route.etag):
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if route.etag:
                self.send_header("ETag", route.etag)
            if route.length:
                self.send_header("Content-Length", str(len(body) - start))
            self.send_header("Connection", "close")
            self.end_headers()
            end = route.cut_after.pop(0) if route.cut_after else len(body)
            self.wfile.write(body[start : max(start, end)])
            self.close_connection = True

        def log_message(self, format, *args):
            pass

    http.RequestHandlerClass = Handler
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
