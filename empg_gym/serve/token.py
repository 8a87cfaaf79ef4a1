"""Who needs a token: everybody, unless only programs on this machine can connect or the operator says otherwise."""

from __future__ import annotations

import ipaddress
import os
import secrets

from empg_gym.errors import ConfigError
from empg_gym.serve.client import TOKEN_VARIABLE

_LEAST = 16
"""Characters of a token."""


def token_for(host: str, auth: bool | None) -> tuple[str | None, bool]:
    """Return the token of a server and whether it was made now.

    Args:
        host: address that it listens on.
        auth: whether clients need a token; None = unless `host` is a loopback address.

    Raises:
        ConfigError: the token in the environment is too short.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if auth is None:
        auth = given is not None or not is_loopback(host)
    if not auth:
        return None, False
    if given is None:
        return secrets.token_urlsafe(32), True
    if len(given) < _LEAST or not given.isascii() or not given.isprintable() or " " in given:
        raise ConfigError(f"{TOKEN_VARIABLE} must have at least {_LEAST} printable ASCII characters without spaces")
    return given, False


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
