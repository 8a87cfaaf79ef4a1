"""API keys from the environment: read on use, never stored, shown or logged."""

from __future__ import annotations

import os

from empg_gym.errors import ConfigError
from empg_gym.net.json_client import bearer_key


def find_key(names: tuple[str, ...]) -> str:
    """Return the first of the environment variables `names` that is set, or "".

    Surrounding white space is removed: it stems from files or copying and would break a header.
    """
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def need_key(provider: str, names: tuple[str, ...]) -> str:
    """Return the key of `provider`.

    Raises:
        ConfigError: none of the variables is set, or the key is malformed; the text names the variables, never the key.
    """
    key = optional_key(provider, names)
    if not key:
        raise ConfigError(f"{provider} needs an API key in the environment: set {' or '.join(names)}")
    return key


def optional_key(provider: str, names: tuple[str, ...]) -> str:
    """Return the key of `provider`, or "" if none of the variables is set.

    Raises:
        ConfigError: the key is malformed; the text names the variables, never the key.
    """
    try:
        return bearer_key(find_key(names)) or ""
    except ConfigError as error:
        raise ConfigError(f"{provider}, {' or '.join(names)}: {error}") from None
