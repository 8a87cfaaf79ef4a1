"""Arguments of an environment that may come from a file of somebody else's run: the one allow-list for all that reads such files.

A run folder can be downloaded. What its `config.json` names decides nothing on this machine beyond how an episode looks.

Rules:
    - An argument is accepted only if the environment's class lists it in `TextEnv.inheritable`: numbers and names of built-in variants that
      shape observations, actions and the embedded world. Addresses, key names, paths, backends, judges, rewards and callbacks are never
      listed; the user passes them.
    - `data` is accepted only as "official", the name of what is installed on this machine. A replay, which shows nothing to a model and
      connects to nothing, also accepts paths of files and folders (`REPLAYED`).
    - A value is plain and small: text, a truth value, a finite number up to `LARGEST` (seeds: 2**63), or a short list of them.
    - Everything else is returned as ignored, for a message to the user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from empg_gym.errors import ConfigError
from empg_gym.registration import env_creator

LARGEST = 100_000
"""Largest number: the size of a generated world is one of them, and building a larger one would block the machine."""
REPLAYED = frozenset({"split", "data", "corpus", "mix", "reward", "invalid_penalty"})
"""Arguments that a replay of recorded actions accepts in addition: where its data is and how answers are scored."""
_LONGEST_TEXT = 100
_LONGEST_PATH = 4096
_LONGEST_LIST = 100
_COMMON = frozenset({"max_steps"})
"""Arguments of every text environment, for those that a function makes."""


class Inherited(NamedTuple):
    """Arguments from the file of a run, divided."""

    accepted: dict[str, Any]
    ignored: dict[str, Any]


def inherit(env_id: str, arguments: Mapping[str, Any], *, also: frozenset[str] = frozenset()) -> Inherited:
    """Divide the arguments that a file names for a registered environment; see the module docstring. Never raises or imports by name.

    Args:
        env_id: a registered id, as the user names it; nothing is accepted for any other.
        arguments: keyword arguments of `gymnasium.make` from a file.
        also: names to accept in addition to those of the environment's class; a text among them may be a path.
    """
    try:
        allowed = getattr(env_creator(env_id), "inheritable", _COMMON)
    except ConfigError:
        allowed = frozenset()
    accepted = {name: value for name, value in arguments.items() if _is_harmless(name, value, allowed, also)}
    return Inherited(accepted, {name: value for name, value in arguments.items() if name not in accepted})


def _is_harmless(name: str, value: Any, allowed: frozenset[str], also: frozenset[str]) -> bool:
    if name in also:
        return _is_plain(value, LARGEST, _LONGEST_PATH)
    if name == "data":
        return value in (None, "official")
    return name in allowed and _is_plain(value, 2**63 if name.endswith("seed") else LARGEST, _LONGEST_TEXT)


def _is_plain(value: Any, largest: float, longest: int) -> bool:
    if isinstance(value, list | tuple):
        items = all(not isinstance(item, list | tuple) and _is_plain(item, largest, longest) for item in value)
        return len(value) <= _LONGEST_LIST and items
    if isinstance(value, str):
        return len(value) <= longest
    if isinstance(value, int | float) and not isinstance(value, bool):
        return math.isfinite(value) and abs(value) <= largest if isinstance(value, float) else abs(value) <= largest
    return value is None or isinstance(value, bool)
