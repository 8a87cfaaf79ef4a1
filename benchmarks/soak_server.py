"""A chat server on the loopback for `benchmarks/soak.py`, which fails at a fixed rate: it cuts connections, sends garbage and hangs."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATES = {"cut connection": 0.02, "garbage reply": 0.01, "status 503": 0.01, "hanging reply": 0.003}
"""Share of the requests."""
HANG_SECONDS = 6.0


class ChatServer(ThreadingHTTPServer):
    """Answers every conversation with the same action; `faults` counts what it did wrong."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        self.faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._rng = random.Random()
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that are gone: the soak kills them."""

    def draw(self) -> str:
        """Return the fault of a request, "" for none."""
        with self._lock:
            (fault,) = self._rng.choices([*RATES, ""], [*RATES.values(), 1 - sum(RATES.values())])
            self.faults[fault] += 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"data": [{"id": "soak"}]}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, ChatServer)
        fault = self.server.draw()
        message = {"role": "assistant", "content": "<action>look</action>"}
        body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": {"completion_tokens": 5}})
        if fault == "cut connection":
            self._answer(200, body, cut=True)
        elif fault == "garbage reply":
            self._answer(200, "<html>Bad gateway</html>")
        elif fault == "status 503":
            self._answer(503, "{}")
        else:
            time.sleep(HANG_SECONDS if fault else 0.0)
            self._answer(200, body)

    def _answer(self, status: int, body: str, *, cut: bool = False) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2].encode() if cut else body.encode())
        except OSError:
            cut = True
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: object) -> None:
        pass
