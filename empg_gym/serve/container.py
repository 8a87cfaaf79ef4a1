"""The server in a container or a Hugging Face Space: one process, configured by environment variables.

    EMPG_GYM_TOKEN   token that clients must send; without it, everybody can connect
    MAX_SESSIONS     open sessions (256)
    IDLE_SECONDS     time without a message after which a session is closed (1800)
    PORT             port to listen on (8000), on all addresses

Host names are not checked: the proxy in front of a container decides which names lead to it.
"""

from __future__ import annotations

import os

from empg_gym.errors import ConfigError
from empg_gym.net.server import App, ServerLimits, listen, make_server
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import short_name
from empg_gym.serve.app import make_app
from empg_gym.serve.settings import ServerSettings, SessionLimits
from empg_gym.serve.token import token_for

_ANYWHERE = "0.0.0.0"


def make_container_app(env_id: str) -> App:
    """Return the ASGI application of an environment.

    Args:
        env_id: id of the environment.

    Raises:
        ConfigError: a variable can't be used.
    """
    token, _ = token_for(_ANYWHERE, "EMPG_GYM_TOKEN" in os.environ)
    return make_app(ServerSettings(recipes={short_name(env_id): EnvRecipe(env_id)}, limits=_limits(), token=token))


def run(app: App) -> None:
    """Serve an application from `make_container_app` until the container is stopped."""
    limits = _limits()
    bounds = ServerLimits(max_body=limits.max_message, max_message=limits.max_message, max_connections=limits.max_sessions + 512)
    server = make_server(app, limits=bounds, names=["*"], websockets=True, log_level="error")
    server.run(sockets=[listen(_ANYWHERE, int(_number("PORT", 8000)))])


def _limits() -> SessionLimits:
    return SessionLimits(max_sessions=int(_number("MAX_SESSIONS", 256)), idle_seconds=_number("IDLE_SECONDS", 1800))


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ConfigError(f"the environment variable {name} must be a number, not {text[:40]!r}") from None
