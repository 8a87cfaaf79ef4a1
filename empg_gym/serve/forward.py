"""`Forward`: requests that name a session made over HTTP go to the worker that holds such sessions.

OpenEnv's MCP sessions are made by one HTTP request (`openenv/session/create` at /mcp) and used by others, which any worker may accept. The
first worker holds all of them; the others pass on requests to /mcp, and WebSockets that name a session (`/ws?session_id=…`), over a Unix
socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property
from urllib.parse import parse_qs

import httpx
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from empg_gym.net.server import App, Message, Receive, Send, refuse

_SECONDS = 300.0
_ONE_CONNECTION = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"content-length"})
"""Headers that belong to one connection."""


class Forward:
    """The application of a worker that doesn't hold those sessions.

    Args:
        app: the application for all other requests.
        address: Unix socket of the first worker.
    """

    def __init__(self, app: App, address: str) -> None:
        self._app, self._address = app, address

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        try:
            if scope["type"] == "http" and path.endswith("/mcp"):
                await self._request(scope, receive, send)
            elif scope["type"] == "websocket" and "session_id" in parse_qs(scope["query_string"].decode("latin-1")):
                await self._websocket(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except (httpx.TransportError, OSError):
            await refuse(scope, send, 503, "the worker with this session is starting again: make a new session")

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=self._address), timeout=_SECONDS)

    async def _request(self, scope: Message, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]  # whole: see `empg_gym.net.server`
        headers = [(name, value) for name, value in scope["headers"] if name not in _ONE_CONNECTION]
        answer = await self._client.request(scope["method"], f"http://worker{_target(scope)}", headers=headers, content=body)
        kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _ONE_CONNECTION]
        kept.append((b"content-length", str(len(answer.content)).encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        await send({"type": "http.response.body", "body": answer.content})

    async def _websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        token = dict(scope["headers"]).get(b"authorization")
        headers = {} if token is None else {"Authorization": token.decode("latin-1")}
        options = {"compression": None, "max_size": None, "ping_interval": None}
        url = f"ws://localhost{_target(scope)}"
        try:
            async with unix_connect(self._address, url, additional_headers=headers, **options) as there:
                await receive()
                await send({"type": "websocket.accept"})
                back = asyncio.create_task(_pass_back(there, send))
                try:
                    while (message := await receive())["type"] == "websocket.receive":
                        await there.send(message.get("text") or message.get("bytes") or "")
                except ConnectionClosed:
                    await back
                finally:
                    back.cancel()
        except InvalidStatus as refused:
            await refuse(scope, send, refused.response.status_code, "the worker with this session refused the connection")


def _target(scope: Message) -> str:
    query = scope["query_string"].decode("latin-1")
    return str(scope["raw_path"].decode("latin-1")) + (f"?{query}" if query else "")


async def _pass_back(there: object, send: Send) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in there:  # type: ignore[attr-defined]
            await send({"type": "websocket.send", "text": message})
    await send({"type": "websocket.close", "code": 1000})
