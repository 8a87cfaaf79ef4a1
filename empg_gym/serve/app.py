"""The application of a server: OpenEnv's routes and /sessions for each environment, behind one door.

One environment is served at the root. Several are served at /NAME each; the root then has /health and /list_environments.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import uvicorn

from empg_gym.net.server import App, Message, Receive, Send, ServerLimits, make_server, refuse
from empg_gym.serve.door import Door
from empg_gym.serve.endpoint import SessionsEndpoint
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import ServerSettings
from empg_gym.serve.slots import SessionSlots

if TYPE_CHECKING:
    from fastapi import FastAPI

_SPARE_CONNECTIONS = 512
"""Connections in addition to one for each session."""


def make_app(settings: ServerSettings, slots: SessionSlots | None = None, first_worker: str | None = None) -> App:
    """Return the ASGI application of a worker.

    Args:
        settings: what is served.
        slots: counts the sessions of all workers; None for one worker.
        first_worker: Unix socket of the first worker; None for that one.

    Raises:
        EMPGGymError: an environment can't be made.
    """
    from empg_gym.serve.openenv import make_openenv_app

    limits = settings.limits
    slots = slots or SessionSlots(limits.max_sessions)
    services: dict[str, Service] = {}
    for name, recipe in settings.recipes.items():
        host = EnvHost(name, recipe)
        endpoint = SessionsEndpoint(host, slots, limits, workers=settings.workers, worker=slots.worker)
        services[name] = Service(make_openenv_app(host, limits), endpoint)
    door = Door(Directory(services), slots, token=settings.token, idle_seconds=limits.idle_seconds)
    if first_worker is None:
        return door
    from empg_gym.serve.forward import Forward

    return Forward(door, first_worker)


def make_env_server(settings: ServerSettings, slots: SessionSlots | None = None, first_worker: str | None = None) -> uvicorn.Server:
    """Return the server of a worker, not yet running; raises what `make_app` raises."""
    limits = ServerLimits(
        max_body=settings.limits.max_message,
        max_message=settings.limits.max_message,
        max_connections=settings.limits.max_sessions + _SPARE_CONNECTIONS,
    )
    return make_server(make_app(settings, slots, first_worker), limits=limits, names=settings.names, websockets=True, log_level="error")


class Service:
    """One environment: /sessions, and OpenEnv's application for everything else.

    Args:
        openenv: OpenEnv's application; None = /sessions alone.
        sessions: the endpoint.
    """

    def __init__(self, openenv: FastAPI | None, sessions: App) -> None:
        self._openenv, self._sessions = openenv, sessions

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        if scope["type"] == "websocket" and path == "/sessions":
            await self._sessions(scope, receive, send)
        elif self._openenv is not None:
            await self._openenv(scope, receive, send)
        else:
            await refuse(scope, send, 404, f"this server has no page {path[:100]!r}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run OpenEnv's start-up and shutdown events."""
        if self._openenv is None:
            yield
            return
        async with self._openenv.router.lifespan_context(self._openenv):
            yield


class Directory:
    """The environments of a server: one at the root, or several below their names.

    Args:
        services: the environments by name.
    """

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        path = str(scope["path"])
        if len(self._services) == 1:
            await next(iter(self._services.values()))(scope, receive, send)
            return
        first, _, _ = path.removeprefix("/").partition("/")
        service = self._services.get(first)
        if service is not None:
            await service({**scope, "root_path": f"{scope.get('root_path', '')}/{first}"}, receive, send)
        elif scope["type"] == "http" and path == "/health":
            await _answer(send, {"status": "healthy"})
        elif scope["type"] == "http" and path == "/list_environments":
            await _answer(send, list(self._services))
        else:
            known = ", ".join(f"/{name}" for name in self._services)
            await refuse(scope, send, 404, f"this server has several environments: add the name of one to the address ({known})")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await receive()  # lifespan.startup
            for service in self._services.values():
                await stack.enter_async_context(service.running())
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Send, value: object) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
