"""Local servers that misbehave as the web does: a function of the raw request answers each connection."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

from empg_gym.envs.deepsearch.web import PageGuard


class Server:
    """Answers connections on loopback; `requests` holds the requests, head and body."""

    def __init__(self, answer):
        self.answer = answer
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(10)
            try:
                data = b""
                while b"\r\n\r\n" not in data:
                    part = connection.recv(65536)
                    if not part:
                        return
                    data += part
                head, _, body = data.partition(b"\r\n\r\n")
                length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
                while len(body) < length:
                    body += connection.recv(65536)
                self.requests.append(head + b"\r\n\r\n" + body)
                self.answer(connection, head.split(b" ")[1].decode(), len(self.requests))
            except OSError:
                pass

    def paths(self):
        return [request.split(b" ")[1].decode() for request in self.requests]


@contextmanager
def serving(answer):
    """Run a server; `answer(connection, path, number of the request)` writes raw bytes."""
    server = Server(answer)
    try:
        yield server
    finally:
        server.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which would otherwise serve one more connection
        server.socket.close()


def reply(body=b"", status=200, headers=None, kind="text/html"):
    """Return the bytes of a complete reply."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *(f"{k}: {v}" for k, v in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*answers):
    """Send complete replies in turn, repeating the last one."""
    return lambda connection, path, number: connection.sendall(answers[min(number, len(answers)) - 1])


def local_guard(port, **settings):
    """Return a guard that allows this one local server, under any host name."""
    return PageGuard(ports=frozenset({port}), networks=("127.0.0.1/32",), resolver=lambda host, port: ["127.0.0.1"], **settings)
