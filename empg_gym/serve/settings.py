"""What a server serves and how much it lets clients use, as picklable values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Limits on sessions and requests.

    Raises:
        ConfigError: a limit is not above 0.
    """

    max_sessions: int = 256
    """Open sessions, over all worker processes."""
    idle_seconds: float = 1800.0
    """Time without a message after which a connection and its sessions are closed."""
    max_message: int = 1 << 20
    """Size of a request's body or of a WebSocket message, in bytes."""
    max_calls: int = 512
    """Calls in one message of the endpoint /sessions."""

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_message", "max_calls"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, not {value!r}")
        if not 0 < self.idle_seconds < math.inf:
            raise ConfigError(f"idle_seconds must be a number of seconds above 0, not {self.idle_seconds!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One server.

    Example:
        `ServerSettings(recipes={"alfworld": EnvRecipe("EMPG/ALFWorld-v0")})`

    Raises:
        ConfigError: there is no environment, or no worker.
    """

    recipes: Mapping[str, EnvRecipe]
    """Served environments by name. One is served at the root, several at /NAME each."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    token: str | None = None
    """Bearer token that clients must send; None = none."""
    names: tuple[str, ...] = ()
    """Host names that the server answers for, in addition to addresses and this machine's own."""
    workers: int = 1
    """Processes that share the port."""

    def __post_init__(self) -> None:
        if not self.recipes:
            raise ConfigError("name at least one environment to serve, such as alfworld")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigError(f"workers must be an integer of at least 1, not {self.workers!r}")
