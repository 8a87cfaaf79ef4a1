"""/sessions: many sessions over one WebSocket, several calls in one message.

    client  {"calls": [[session, name, arguments], …]}
    server  {"results": [["ok", value] | ["error", kind, text], …]}      one result per call, in the order of the calls
            {"error": text}                                              the message was not understood; the connection stays open

Rules:
    - `session` is a number that the client chooses; `open` starts it, `close` ends it, and so does the end of the connection. The calls
      are those of `empg_gym.serve.session`, plus `describe` and `open` with the name of a split or null as their argument.
    - Calls of one session are carried out in order. Where an environment waits for something outside the process, the sessions of one
      message wait at the same time, in threads; other environments step in the server's own thread, and other connections get their turn
      after `_TURN` seconds of work.
    - `kind` is the name of a class of `empg_gym.errors`, so that a client can raise it.
    - Text passes unchanged, including lone surrogates, which JSON can write.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from empg_gym.errors import ConfigError, EMPGGymError, EnvironmentFailure, TaskError
from empg_gym.net.server import Message, Receive, Send
from empg_gym.serve.host import EnvHost
from empg_gym.serve.session import Session
from empg_gym.serve.settings import SessionLimits
from empg_gym.serve.slots import SessionSlots

_TURN = 0.005
_THREADS = 32
_LOG = logging.getLogger("empg_gym.serve")

Call = tuple[int, str, list[Any]]
Result = list[Any]


class SessionsEndpoint:
    """The WebSocket endpoint, as an ASGI application.

    Args:
        host: makes the environments.
        slots: counts the sessions.
        limits: on messages.
        workers: worker processes of the server, for clients that spread their sessions.
        worker: number of this one.
    """

    def __init__(self, host: EnvHost, slots: SessionSlots, limits: SessionLimits, *, workers: int = 1, worker: int = 0) -> None:
        self._host, self._slots, self._limits = host, slots, limits
        self._place = {"workers": workers, "worker": worker}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sessions")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        connection = _Connection(self)
        try:
            while (message := await receive())["type"] == "websocket.receive":
                text = message.get("text")
                reply = await connection.reply(message["bytes"] if text is None else text)
                await send({"type": "websocket.send", "text": reply})
        finally:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, connection.close))

    def describe(self, split: str | None) -> dict[str, Any]:
        """Return the description of the environment and of the server's limits."""
        limits = {"max_calls": self._limits.max_calls, "max_message": self._limits.max_message}
        return {**self._host.describe(split), **self._place, **limits}

    def open(self, split: str | None) -> Session:
        """Return a new session.

        Raises:
            EnvironmentFailure: the server is full.
            EMPGGymError: what making the environment raises.
        """
        if not self._slots.acquire():
            raise EnvironmentFailure(self._slots.full())
        try:
            return Session(self._host, split)
        except BaseException:
            self._slots.release()
            raise

    def end(self, session: Session) -> None:
        """Close a session."""
        self._slots.release()
        try:
            session.close()
        except Exception:
            _LOG.exception("an environment could not be closed")

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Return the result of a function that may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def calls(self, text: str | bytes) -> list[Call]:
        """Read a message.

        Raises:
            ConfigError: it is malformed.
        """
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError("the message is not JSON") from None
        calls = message.get("calls") if isinstance(message, dict) else None
        if not isinstance(calls, list):
            raise ConfigError('a message must be an object such as {"calls": [[0, "step", ["look"]]]}')
        if len(calls) > self._limits.max_calls:
            raise ConfigError(f"a message may have {self._limits.max_calls} calls, not {len(calls)}")
        for call in calls:
            match call:
                case [int(), str(), list()]:
                    continue
            raise ConfigError("a call must be [session, name, arguments]: a number, a text and a list")
        return [(call[0], call[1], call[2]) for call in calls]


class _Connection:
    """The sessions of one connection."""

    def __init__(self, endpoint: SessionsEndpoint) -> None:
        self._endpoint = endpoint
        self._sessions: dict[int, Session] = {}

    async def reply(self, text: str | bytes) -> str:
        try:
            calls = self._endpoint.calls(text)
        except ConfigError as error:
            return json.dumps({"error": str(error)})
        chains: dict[int, list[int]] = {}
        for place, (session, _, _) in enumerate(calls):
            chains.setdefault(session, []).append(place)
        results: list[Result] = [[] for _ in calls]
        turn = time.monotonic()
        waiting = []
        for session, places in chains.items():
            if self._does_io(session) and len(chains) > 1:
                waiting.append(asyncio.create_task(self._chain(calls, places, results)))
                continue
            await self._chain(calls, places, results)
            if time.monotonic() - turn > _TURN:
                await asyncio.sleep(0)
                turn = time.monotonic()
        if waiting:
            await asyncio.gather(*waiting)
        return json.dumps({"results": results}, separators=(",", ":"))

    def close(self) -> None:
        while self._sessions:
            self._endpoint.end(self._sessions.popitem()[1])

    async def _chain(self, calls: Sequence[Call], places: Sequence[int], results: list[Result]) -> None:
        for place in places:
            results[place] = await self._result(*calls[place])

    async def _result(self, number: int, name: str, arguments: list[Any]) -> Result:
        try:
            match name, arguments:
                case "describe", [split] if split is None or isinstance(split, str):
                    return ["ok", await self._endpoint.in_thread(self._endpoint.describe, split)]
                case "open", [split] if split is None or isinstance(split, str):
                    if number in self._sessions:
                        raise ConfigError(f"session {number} is open already; close it, or choose another number")
                    self._sessions[number] = await self._endpoint.in_thread(self._endpoint.open, split)
                    return ["ok", None]
                case "close", []:
                    if number in self._sessions:
                        await self._endpoint.in_thread(self._endpoint.end, self._sessions.pop(number))
                    return ["ok", None]
            session = self._sessions.get(number)
            if session is None:
                raise TaskError(f"session {number} is not open: call open first")
            if session.does_io:
                return ["ok", await self._endpoint.in_thread(session.answer, name, arguments)]
            return ["ok", session.answer(name, arguments)]
        except EMPGGymError as error:
            return ["error", type(error).__name__, str(error)]
        except Exception as error:
            _LOG.exception("a call of %r failed", name[:80])
            if number in self._sessions:
                await self._endpoint.in_thread(self._endpoint.end, self._sessions.pop(number))
            failure = f"the environment failed in {name[:80]!r}: {type(error).__name__}: {error}; open a new session"
            return ["error", EnvironmentFailure.__name__, failure]

    def _does_io(self, number: int) -> bool:
        return number in self._sessions and self._sessions[number].does_io
