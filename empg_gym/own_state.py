"""The state of an environment that does not name it: the attributes that its class has set.

`TextEnv` uses this as the default of snapshots and state keys, so that a small environment needs neither. An environment whose attributes
hold more than plain values (a generator, a connection, a large table) implements `_save`, `_load` and `_state_key` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

from empg_gym.errors import TaskError

KeyPart: TypeAlias = "str | int | float | bool | tuple[KeyPart, ...] | None"
"""The parts of a state key: values with the same `repr` in every process. Sets must be sorted into tuples."""


def own_state(env: object, base: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of `env` that are not among the names `base`."""
    left_out = frozenset(base)
    return {name: value for name, value in vars(env).items() if name not in left_out}


def freeze(value: Any, name: str) -> KeyPart:
    """Return a canonical form of a plain value: equal values have equal forms, values of different kinds never do.

    Args:
        value: numbers, texts, None, enumerations, and tuples, lists, sets, mappings and dataclasses of these.
        name: of the attribute, for the error.

    Raises:
        TaskError: `value` holds something else.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Enum):
        return (type(value).__name__, value.name)
    if isinstance(value, list | tuple):
        return ("list" if isinstance(value, list) else "tuple", *(freeze(item, name) for item in value))
    if isinstance(value, set | frozenset):
        return ("set", *sorted((freeze(item, name) for item in value), key=repr))
    if isinstance(value, Mapping):
        return ("mapping", *sorted(((freeze(key, name), freeze(item, name)) for key, item in value.items()), key=repr))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(freeze(getattr(value, part.name), name) for part in fields(value)))
    raise TaskError(
        f"the attribute {name!r} holds a {type(value).__name__}, for which there is no state key; implement _state_key (and _save and "
        "_load) in the environment's class and return what decides how an episode continues"
    )
