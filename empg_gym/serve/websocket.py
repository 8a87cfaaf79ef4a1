"""A WebSocket client on a plain socket: no thread, no event loop; the protocol is that of the package `websockets`.

Pings are answered when the next message is read.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

_PIECE = 1 << 16
_CLOSE_SECONDS = 1.0


class Closed(Exception):
    """The connection is closed."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """Of the server's last message; None if the connection broke."""
        self.reason = reason


class WebSocket:
    """An open connection.

    Args:
        url: address, ws:// or wss://.
        headers: of the handshake.
        seconds: longest time for the handshake.
        max_bytes: size of a message from the server.

    Raises:
        InvalidHandshake: the server refuses, or speaks another protocol.
        OSError: the connection failed; TimeoutError: it took too long.
    """

    def __init__(self, url: str, *, headers: dict[str, str], seconds: float, max_bytes: int) -> None:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        self._protocol = ClientProtocol(parse_uri(url), max_size=max_bytes)
        self._parts: list[bytes] = []
        self._messages: list[str] = []
        self._response: Response | None = None
        self._socket = socket.create_connection((host, parts.port or (443 if secure else 80)), timeout=seconds)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)
            request = self._protocol.connect()
            request.headers.update(headers)
            self._protocol.send_request(request)
            self._flush()
            deadline = time.monotonic() + seconds
            while self._response is None and self._protocol.handshake_exc is None:
                self._read(deadline)
            if self._protocol.handshake_exc is not None:
                raise self._protocol.handshake_exc
        except (Closed, EOFError):
            self._socket.close()
            raise InvalidHandshake("the connection was closed") from None
        except BaseException:
            self._socket.close()
            raise

    def send(self, text: str) -> None:
        """Send a message.

        Raises:
            Closed: the connection is closed.
            TimeoutError: the server doesn't take it.
        """
        if self._protocol.state is not State.OPEN:
            raise self._closed()
        self._protocol.send_text(text.encode())
        try:
            self._flush()
        except TimeoutError:
            raise
        except OSError:
            # The server may have said why before it closed.
            with contextlib.suppress(OSError, TimeoutError, Closed):
                while True:
                    self._read(time.monotonic() + _CLOSE_SECONDS)
            raise self._closed() from None

    def receive(self, seconds: float) -> str:
        """Return the next message.

        Raises:
            Closed: the connection is closed.
            TimeoutError: there is none within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not self._messages:
            if self._protocol.state is not State.OPEN:
                raise self._closed()
            self._read(deadline)
        return self._messages.pop(0)

    def close(self) -> None:
        """Close the connection; may be called again."""
        with contextlib.suppress(OSError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close()
                self._socket.settimeout(_CLOSE_SECONDS)
                self._flush()
        self._socket.close()

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(max(1e-3, deadline - time.monotonic()))
        try:
            data = self._socket.recv(_PIECE)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._response = event
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._messages.append(b"".join(self._parts).decode())
                    self._parts = []
        with contextlib.suppress(OSError):
            self._flush()
        if not data and self._response is None:
            raise EOFError
        if not data and not self._messages:
            raise self._closed()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _closed(self) -> Closed:
        received = self._protocol.close_rcvd
        return Closed(None, "") if received is None else Closed(received.code, received.reason)
