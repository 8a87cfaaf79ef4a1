"""The page of a run in progress: a small server on the loopback interface that rereads the files when they change.

Rules:
    - It answers GET and HEAD on the loopback address only, and only requests that no page of another site made (`empg_gym.net.origin`).
    - A file that is being written is not a failure: the page reports what could not be read and tries again.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from empg_gym.errors import ConfigError, EMPGGymError
from empg_gym.net.origin import Gate
from empg_gym.report.overview import RunReport
from empg_gym.report.page import block, overview_html, page
from empg_gym.report.run_reader import RunReader


class ReportServer:
    """Serves the live page of one run.

    Args:
        folder: the run, or a JSON-lines file of trajectories.
        port: port on 127.0.0.1; 0 selects a free one.

    Raises:
        DataError: the folder is not a run.
        ConfigError: the port is in use.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.run = RunReader(folder)
        self.report = RunReport(self.run)
        self.lock = threading.Lock()
        self.version = 0
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} of 127.0.0.1 can't be used ({error}); name another with --port, or leave it out") from None
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Serve until `close` or an interrupt."""
        self._server.serve_forever(poll_interval=0.2)

    def start(self) -> None:
        """Serve in a background thread."""
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and release the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def refresh(self) -> None:
        """Read changed files; the caller holds the lock."""
        if self.run.refresh():
            self.version += 1


def _handler(server: ReportServer) -> type[BaseHTTPRequestHandler]:
    gate = Gate()

    class Handler(BaseHTTPRequestHandler):
        timeout = 30.0

        def do_GET(self) -> None:
            if (refusal := gate.refusal(self.command, {name.lower(): value for name, value in self.headers.items()})) is not None:
                self._answer(refusal[0], "text/plain", refusal[1])
                return
            path = urlsplit(self.path).path
            try:
                with server.lock:
                    status, kind, body = _respond(server, path)
            except (EMPGGymError, OSError) as error:  # a checkpoint may be deleted or a file replaced between two reads
                status, kind, body = 503, "text/plain", str(error)
            self._answer(status, kind, body)

        do_HEAD = do_GET

        def _answer(self, status: int, kind: str, body: str) -> None:
            data = body.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: the terminal belongs to the command."""

    return Handler


def _respond(server: ReportServer, path: str) -> tuple[int, str, str]:
    if path == "/":
        server.refresh()
        return 200, "text/html", "".join(page(server.report, live=True))
    if path == "/version":
        server.refresh()
        return 200, "application/json", f'{{"version": {server.version}}}'
    if path == "/overview":
        return 200, "text/html", overview_html(server.report)
    if path.startswith("/data/"):
        try:
            return 200, "text/plain", block(server.report, path.removeprefix("/data/"))
        except KeyError:
            pass
    return 404, "text/plain", "no such part of the report"
