"""Agents from a user's own Python module: `python:pkg.module:object`.

The object may be anything that `empg_gym.agents.as_agent` accepts, or a class of agents, which is called with the options. The current
folder is searched first, as `python -m` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from empg_gym.agents.adapter import as_agent
from empg_gym.agents.base import BaseAgent
from empg_gym.errors import ConfigError
from empg_gym.import_object import import_object


def load_agent(target: str, options: Mapping[str, Any]) -> BaseAgent:
    """Return the agent that `target` ("pkg.module:object") names.

    Raises:
        ConfigError: there is no such module or object, it is not an agent, or options are given for something that takes none.
    """
    found = import_object(target)
    if inspect.isclass(found):
        try:
            found = found(**options)
        except TypeError as error:
            raise ConfigError(f"can't make an agent from {target}: {error}") from None
    elif options:
        raise ConfigError(f"{target} is not a class, so it takes no options; given: {', '.join(sorted(options))}")
    return as_agent(found, target)
