"""The HTTP servers of EMPG Gym: uvicorn, with limits that hold against hostile clients.

uvicorn bounds the size of headers, the bytes that it reads ahead, and the time between requests. It has no time limit for headers or bodies
(its issue 157), none for sending, and its limit of connections refuses everybody else. Hypercorn closes idle connections before a request
but has no limit for bodies, sends or memory; Granian has a time limit for headers and can't run in a thread of this process. So uvicorn is
kept, and this module adds what is missing:

    - A request must arrive within `head_seconds` (headers) and `body_seconds` (body), and is handed to the application only as a whole.
    - A client must take each piece of a reply within `send_seconds`; a large reply is sent in pieces.
    - Bodies and replies hold at most `max_bytes` in all. Where room is short, clients that have stalled are cut off, the longest first;
      if there is none, the newcomer is answered 503 with Retry-After. What fits into 64 KiB needs no room. The send buffer of a
      connection has a fixed size.
    - At most `max_connections` are open; one more closes the oldest whose client the server waits for.
    - Foreign hosts and pages of other sites are refused (`empg_gym.net.origin`).
    - What follows of a refused request is read and dropped for a while: a connection that is closed with unread bytes is reset, and the
      client may never see the answer (RFC 9112, section 9.6).
    - WebSockets pass the same checks and are read message by message: at most one waits while the last one is answered. A client
      that doesn't take a message within `send_seconds` is cut off, and so is one whose machine is gone. One that computes for long is not:
      it need not answer pings. Messages are not compressed.

Nothing that a client does keeps others from being answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from empg_gym.errors import ConfigError, EnvironmentFailure
from empg_gym.net.origin import Gate
from empg_gym.net.wait_limit import WaitLimit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HELD = "empg_gym.held"
"""Member of a reply's first message: bytes that the application holds until the reply is sent. They count like those of the reply."""
_ABORT = "empg_gym.abort"
"""Extension of a request's scope: closes its connection at once."""
_PIECE = 1 << 16
_MAX_HEAD = 16 << 10
"""Bytes of the request line and the headers."""
_MAX_DIGITS = 18
"""Of a body's length."""
_SEND_BUFFER = 256 << 10
"""Bytes of a reply that the system keeps for a client; left alone, it grows to several megabytes for each."""
_START_SECONDS = 20.0
_LINGER_PAUSE = 2.0
"""Longest pause in the rest of a refused request."""
_LINGER_BYTES = 64 << 20
"""Most of a refused request that is read and dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits of a server, for all its clients."""

    head_seconds: float = 10.0
    """Time in which the headers of the next request must arrive, from the start of the connection or the end of the last reply."""
    body_seconds: float = 30.0
    """Time in which the body must arrive after the headers."""
    send_seconds: float = 30.0
    """Time in which the client must take the next 64 KiB of a reply."""
    stall_seconds: float = 1.0
    """Time without progress after which a client may be cut off where room is short."""
    max_body: int = 4 << 20
    """Size of a request's body, in bytes."""
    max_bytes: int = 64 << 20
    """Bytes of all unfinished bodies and replies."""
    max_connections: int = 512
    """Open connections; fewer where the system allows fewer open files."""
    max_message: int = 1 << 20
    """Size of a WebSocket message, in bytes; a larger one closes the connection with the code 1009."""
    ping_seconds: float = 20.0
    """Time between two pings of a WebSocket, which keep proxies from closing it."""


class _Refused(Exception):
    """Answered with an error; the rest of the request is dropped."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _CutOff(Exception):
    """The connection is gone."""


class _Client:
    """What one request holds."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort = abort
        self.held = 0
        self.since: float | None = None
        """When the server began to wait for it, None while it does not."""
        self.whole = False
        """Whether the whole request has arrived."""

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Note that the server waits for this client."""
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = None


class _Ledger:
    """The bytes that all clients hold."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._clients: set[_Client] = set()

    @property
    def held(self) -> int:
        return sum(client.held for client in self._clients)

    async def take(self, client: _Client, count: int, seconds: float) -> None:
        """Let a client hold more bytes; wait for room.

        Raises:
            _Refused: there is none within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while count > _PIECE and self.held + count > self._limits.max_bytes:
            if self._cut_off(client):
                continue
            if time.monotonic() > deadline or count > self._limits.max_bytes:
                raise _Refused(503, "the server is busy")
            await asyncio.sleep(self._limits.stall_seconds / 4)
        client.held += count
        self._clients.add(client)

    def drop(self, client: _Client) -> None:
        client.held = 0
        self._clients.discard(client)

    def _cut_off(self, newcomer: _Client) -> bool:
        """Cut off the client that has stalled longest, if one has."""
        awaited = [(client.since, id(client), client) for client in self._clients if client is not newcomer and client.since is not None]
        if not awaited or time.monotonic() - min(awaited)[0] < self._limits.stall_seconds:
            return False
        stalled = min(awaited)[2]
        self.drop(stalled)
        stalled.abort()
        return True


class LimitedApp:
    """An ASGI application behind the limits of the module docstring.

    Args:
        app: the application.
        limits: the limits.
        gate: who may talk to it.
    """

    def __init__(self, app: App, limits: ServerLimits, gate: Gate) -> None:
        self._app, self._limits, self._gate = app, limits, gate
        self._ledger = _Ledger(limits)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        client = _Client(scope.get("extensions", {}).get(_ABORT, {}).get("now", lambda: None))
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            if (refusal := self._gate.refusal(scope.get("method", "GET"), headers)) is not None:
                raise _Refused(*refusal)
            if scope["type"] == "websocket":
                with contextlib.closing(WaitLimit(self._limits.send_seconds)) as limit:
                    await self._app(scope, receive, self._message_sender(client, limit, send))
            else:
                body = await self._body(client, headers, receive)
                await self._app(scope, _received(body, receive), self._sender(client, send))
        except _Refused as refused:
            await refuse(scope, self._lingering(client, receive, send), refused.status, str(refused))
        except _CutOff:
            client.abort()
        finally:
            self._ledger.drop(client)

    def _lingering(self, client: _Client, receive: Receive, send: Send) -> Send:
        """Return a `send` that reads the rest of the request before it ends the reply."""

        async def limited(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({**message, "more_body": True})
            dropped = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.body_seconds):
                    while not client.whole and dropped < _LINGER_BYTES:
                        with client.awaited():
                            part = await asyncio.wait_for(receive(), _LINGER_PAUSE)
                        client.whole = not part.get("more_body", False)
                        dropped += len(part.get("body", b""))
            await send({**message, "body": b""})

        return limited

    def _message_sender(self, client: _Client, limit: WaitLimit, send: Send) -> Send:
        """Return a `send` for a WebSocket: each message must be taken before the next one is sent."""

        async def limited(message: Message) -> None:
            try:
                await self._ledger.take(client, len(message.get("text") or message.get("bytes") or ""), 5 * self._limits.stall_seconds)
                with client.awaited():
                    await limit.wait(send(message))
            except (TimeoutError, _Refused):  # too late for an answer
                raise _CutOff from None
            finally:
                self._ledger.drop(client)

        return limited

    async def _body(self, client: _Client, headers: Mapping[str, str], receive: Receive) -> bytes:
        body, more = bytearray(), True
        expected = self._expected(headers)
        # Room for the whole body, so that those that wait for room hold nothing.
        await self._ledger.take(client, expected, self._limits.body_seconds)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    with client.awaited():
                        message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _CutOff
                    part, more = message.get("body", b""), message.get("more_body", False)
                    client.whole = not more
                    if len(body) + len(part) > expected:
                        raise _Refused(413, f"a request may have {self._limits.max_body} bytes")
                    body += part
        except TimeoutError:
            raise _Refused(408, "the request did not arrive in time") from None
        client.held = len(body)
        return bytes(body)

    def _expected(self, headers: Mapping[str, str]) -> int:
        """Return the length of a body, at most what is allowed where the request does not say it."""
        if "transfer-encoding" in headers:
            return self._limits.max_body
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _MAX_DIGITS or int(length) > self._limits.max_body:
            raise _Refused(413, f"a request may have {self._limits.max_body} bytes")
        return int(length)

    def _sender(self, client: _Client, send: Send) -> Send:
        start: Message | None = None

        async def limited(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body, more = message.get("body", b""), message.get("more_body", False)
            try:
                held = start.pop(HELD, 0) if start is not None else 0
                await self._ledger.take(client, len(body) + held, 5 * self._limits.stall_seconds)
            except _Refused:
                if start is None:  # too late for another answer
                    raise _CutOff from None
                raise
            if start is not None:
                await send(start)
                start = None
            for place in range(0, len(body) or 1, _PIECE):
                piece = body[place : place + _PIECE]
                try:
                    with client.awaited():
                        async with asyncio.timeout(self._limits.send_seconds):
                            await send({**message, "body": piece, "more_body": more or place + _PIECE < len(body)})
                except TimeoutError:
                    raise _CutOff from None
                if not client.held and body:  # cut off by the ledger
                    raise _CutOff
                client.held -= len(piece)

        return limited


async def refuse(scope: Message, send: Send, status: int, text: str) -> None:
    """Answer a request, or the handshake of a WebSocket, with an error as JSON: `{"error": text}`."""
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _received(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first."""
    given = False

    async def whole() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return whole


def _protocol(limits: ServerLimits) -> type[H11Protocol]:
    """Return uvicorn's protocol with a time limit for headers and for the rest of a reply, and with a limit of connections."""
    most = min(limits.max_connections, max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))

    class Limited(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _since = 0.0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                awaited = [one for one in self.connections if one is not self and isinstance(one, Limited) and one._is_awaited()]
                if awaited:
                    oldest = min(awaited, key=lambda one: one._since)
                    self.connections.discard(oldest)  # now: its end is reported later
                    oldest.transport.abort()
            self._expect()

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                self._met()
                self.scope["extensions"] = {_ABORT: {"now": self.transport.abort}}

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._met()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            self._expect()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._met()
            super().connection_lost(exc)

        def _is_awaited(self) -> bool:
            """Whether the server waits for this client: for a request, for the rest of one, or until it takes more of a reply."""
            arriving = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
            return self._timer is not None or arriving or self.flow.write_paused

        def _expect(self) -> None:
            self._met()
            self._since = self.loop.time()
            self._timer = self.loop.call_later(limits.head_seconds, self.transport.abort)

        def _met(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Limited


def _websocket_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for WebSockets, which ends a connection whose client is gone."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class Limited(WebSocketsSansIOProtocol):
        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            if self.response.status_code == 101:
                self.scope["extensions"][_ABORT] = {"now": self.transport.abort}
                _probe(self.transport.get_extra_info("socket"))

        def send_receive_event_to_app(self) -> None:
            # Uvicorn pauses reading for every message, at the price of two system calls. One message may wait.
            if not self.queue.empty():
                super().send_receive_event_to_app()
                return
            paused, self.read_paused = self.read_paused, True
            super().send_receive_event_to_app()
            self.read_paused = paused

        async def run_asgi(self) -> None:
            await super().run_asgi()
            self.loop.call_later(self.close_timeout, self.transport.abort)

    return Limited


def _probe(connection: socket.socket) -> None:
    """Let the kernel end a connection whose other machine is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name) and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def make_server(
    app: App,
    *,
    limits: ServerLimits | None = None,
    names: Iterable[str] = (),
    forms: bool = False,
    websockets: bool = False,
    log_level: str = "warning",
    shutdown_seconds: int = 10,
) -> uvicorn.Server:
    """Return a server for `app`, not yet running.

    Args:
        app: ASGI application, which gets every request as a whole.
        websockets: whether the application accepts WebSockets, and has start-up and shutdown events.
        limits: see `ServerLimits`.
        names: host names that it answers for, in addition to addresses, localhost and this machine's name.
        forms: whether forms are posted to it; otherwise posts must not have the type of one.
        log_level: of uvicorn.
        shutdown_seconds: time for requests under way when it is asked to end.
    """
    limits = limits or ServerLimits()
    config = uvicorn.Config(
        LimitedApp(app, limits, Gate(names, forms=forms)),
        http=_protocol(limits),
        ws=_websocket_protocol() if websockets else "none",
        ws_max_size=limits.max_message,
        ws_per_message_deflate=False,
        ws_ping_interval=limits.ping_seconds,
        ws_ping_timeout=None,
        lifespan="on" if websockets else "off",
        log_level=log_level,
        access_log=False,
        h11_max_incomplete_event_size=_MAX_HEAD,
        timeout_graceful_shutdown=shutdown_seconds,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address of this machine; port 0 takes a free one.

    Raises:
        ConfigError: `host` is not an address of this machine.
        EnvironmentFailure: the port can't be used.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections inherit it
    try:
        listener.bind((host, port))
    except socket.gaierror as error:
        listener.close()
        raise ConfigError(f"{host!r} is not an address of this machine ({error.strerror})") from None
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else "a port is at most 65535"
        raise EnvironmentFailure(f"can't listen on {host}:{port} ({why}); choose another port, or 0 for a free one") from None
    return listener


class BackgroundServer:
    """A server in a thread of this process, from now until `close`.

    Args:
        server: from `make_server`.
        listener: from `listen`; closed with the server.

    Raises:
        EnvironmentFailure: the server did not start.
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server, self._listener = server, listener
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="empg-gym-server", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.close()
                raise EnvironmentFailure("the server did not start")
            time.sleep(0.005)

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._listener.close()
