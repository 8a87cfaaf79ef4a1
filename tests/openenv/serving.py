"""A whole server in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from empg_gym.net.server import BackgroundServer, listen
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.app import make_env_server
from empg_gym.serve.settings import ServerSettings, SessionLimits

BENCHMARKS = {"alfworld": "EMPG/ALFWorld-v0", "webshop": "EMPG/WebShop-v0", "deepsearch": "EMPG/DeepSearch-v0"}


@contextlib.contextmanager
def serving(*names: str, token: str | None = None, **limits: Any) -> Iterator[str]:
    """Serve benchmarks; yield the address."""
    recipes = {name: EnvRecipe(BENCHMARKS[name]) for name in names or BENCHMARKS}
    settings = ServerSettings(recipes=recipes, limits=SessionLimits(**limits), token=token)
    server = make_env_server(settings)
    server.config.timeout_graceful_shutdown = 1
    running = BackgroundServer(server, listen("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{running.port}"
    finally:
        running.close()
