"""A server whose bodies don't end before a client has had more than enough."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

JUNK = b"x" * (1 << 16)


@contextlib.contextmanager
def endless(size: int, head: bytes = b"", first: bytes = b"", chunk: bytes = JUNK) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a server and the list of what it sent, in bytes.

    Args:
        size: bytes of the body, after `first`.
        head: further headers.
        first: what the body begins with.
        chunk: what it repeats.
    """
    sent: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            total = 0
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n")
                for part in (first, *[chunk] * (size // len(chunk))):
                    if part:
                        connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                        total += len(part)
            sent.append(total)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
