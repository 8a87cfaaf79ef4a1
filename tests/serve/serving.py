"""A server with /sessions alone, in this process: what `empg_gym.connect` talks to, without the package `openenv`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from empg_gym.net.server import BackgroundServer, ServerLimits, listen, make_server
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.app import Directory, Service
from empg_gym.serve.door import Door
from empg_gym.serve.endpoint import SessionsEndpoint
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import SessionLimits
from empg_gym.serve.slots import SessionSlots

BENCHMARKS = {"alfworld": "EMPG/ALFWorld-v0", "webshop": "EMPG/WebShop-v0", "deepsearch": "EMPG/DeepSearch-v0"}


@contextlib.contextmanager
def serving(
    *recipes: EnvRecipe, port: int = 0, token: str | None = None, send_seconds: float = 30.0, **limits: Any
) -> Iterator[tuple[str, SessionSlots]]:
    """Serve environments at the root or at /env0, /env1, …; yield the address and the count of sessions."""
    recipes = recipes or (EnvRecipe(BENCHMARKS["alfworld"]),)
    bounds = SessionLimits(**limits)
    slots = SessionSlots(bounds.max_sessions)
    hosts = [EnvHost(f"env{number}", recipe) for number, recipe in enumerate(recipes)]
    services = {host.name: Service(None, SessionsEndpoint(host, slots, bounds)) for host in hosts}
    door = Door(Directory(services), slots, token=token, idle_seconds=bounds.idle_seconds)
    server_limits = ServerLimits(max_message=bounds.max_message, send_seconds=send_seconds)
    server = make_server(door, limits=server_limits, websockets=True, log_level="critical", shutdown_seconds=1)
    running = BackgroundServer(server, listen("127.0.0.1", port))
    try:
        yield f"http://127.0.0.1:{running.port}", slots
    finally:
        running.close()
