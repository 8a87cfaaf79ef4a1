"""`Door`: token, number of sessions and idle time, in front of everything that a server offers.

Rules:
    - With a token, every request and every WebSocket must have it in the header `Authorization: Bearer TOKEN`, except GET /health.
    - A WebSocket of the OpenEnv protocol is one session and takes a slot; where there is none, it is answered as OpenEnv's clients expect
      and closed.
    - A WebSocket without a message for `idle_seconds` is closed with the code 1001.
"""

from __future__ import annotations

import contextlib
import hmac
import json

from empg_gym.net.server import App, Message, Receive, Send, refuse
from empg_gym.net.wait_limit import WaitLimit
from empg_gym.serve.slots import SessionSlots

_ONE_SESSION = ("/ws", "/mcp")
"""Ends of the paths whose WebSockets are one session."""
_UNAUTHORIZED = "this server needs a token: send the header Authorization: Bearer TOKEN (empg_gym.connect(url, token=...))"


class Door:
    """An ASGI application behind the checks of the module docstring.

    Args:
        app: the application.
        slots: counts the sessions.
        token: what clients must send; None = nothing.
        idle_seconds: longest time without a message.
    """

    def __init__(self, app: App, slots: SessionSlots, *, token: str | None, idle_seconds: float) -> None:
        self._app, self._slots, self._idle_seconds = app, slots, idle_seconds
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        if not (scope["type"] == "http" and path.endswith("/health")) and not self._is_authorized(scope):
            await refuse(scope, send, 401, _UNAUTHORIZED)
        elif scope["type"] == "http":
            await self._app(scope, receive, send)
        elif not path.endswith(_ONE_SESSION):
            await self._until_idle(scope, receive, send)
        elif self._slots.acquire():
            try:
                await self._until_idle(scope, receive, send)
            finally:
                self._slots.release()
        else:
            await self._turn_away(receive, send)

    def _is_authorized(self, scope: Message) -> bool:
        if self._expected is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected)

    async def _until_idle(self, scope: Message, receive: Receive, send: Send) -> None:
        with contextlib.closing(WaitLimit(self._idle_seconds)) as limit:

            async def limited() -> Message:
                try:
                    return await limit.wait(receive())
                except TimeoutError:
                    await send({"type": "websocket.close", "code": 1001, "reason": f"no message for {self._idle_seconds:g} seconds"})
                    return {"type": "websocket.disconnect", "code": 1001}

            await self._app(scope, limited, send)

    async def _turn_away(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        data = {
            "message": self._slots.full(),
            "code": "CAPACITY_REACHED",
            "active_sessions": self._slots.open,
            "max_sessions": self._slots.limit,
        }
        await send({"type": "websocket.send", "text": json.dumps({"type": "error", "data": data})})
        await send({"type": "websocket.close", "code": 1013, "reason": "the server is full"})
