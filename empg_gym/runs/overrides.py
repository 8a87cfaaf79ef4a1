"""The grammar of `--set`, the same for every command.

    --set SECTION.KEY=VALUE        nested keys are separated by dots: rl.optimizer.lr=1e-4

A value is read as TOML (`5`, `true`, `1e-4`, `"text"`, `["a", "b"]`, `{ k = 1 }`), else as JSON (`{"k": 1}`, `null`), else it is the
text itself. `none` means None. TOML dates and times are text, since no key takes them.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from typing import Any

from empg_gym.errors import ConfigError


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set the values of `overrides` in a tree of sections, creating sections that are missing; the last override of a key wins.

    Raises:
        ConfigError: an override is not of the form SECTION.KEY=VALUE, or names a key inside a value.
    """
    for override in overrides:
        path, value = parse_override(override)
        section = tree
        for depth, part in enumerate(path[:-1], 1):
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {override}: {'.'.join(path[:depth])} is a value, not a section")
        section[path[-1]] = value


def parse_override(override: str) -> tuple[list[str], Any]:
    """Return the path and the value of `SECTION.KEY=VALUE`.

    Raises:
        ConfigError: the text has another form.
    """
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(f"--set expects SECTION.KEY=VALUE, not {override!r}")
    return path, parse_value(text)


def parse_value(text: str) -> Any:
    """Return the value that the text after `=` stands for; see the module."""
    text = text.strip()
    if text.lower() == "none":
        return None
    try:
        parsed = tomllib.loads(f"value = {text}")
        if list(parsed) == ["value"] and _is_json(parsed["value"]):
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_json(value: Any) -> bool:
    """Whether JSON has the type of a value, at any depth."""
    if isinstance(value, dict | list):
        return all(_is_json(item) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, bool | int | float | str)
