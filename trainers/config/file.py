"""Reading a configuration: a TOML file, `--set a.b=c` overrides on top, then the models of `empg_gym.trainers.config.sections`.

Every mistake becomes one sentence that names the key: an unknown one with the nearest known, a wrong value with what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from empg_gym.errors import ConfigError, nearest
from empg_gym.trainers.config.sections import TrainConfig


def load_config(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a configuration file and apply overrides of the form `a.b=value`.

    Raises:
        ConfigError: the file is missing or no TOML, an override is malformed, a key is unknown or a value can't be used.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file at {path}; the presets lie in the folder configs/") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree)


def parse_config(tree: Mapping[str, Any]) -> TrainConfig:
    """Validate a tree of sections and keys.

    Raises:
        ConfigError: a key is unknown or a value can't be used.
    """
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(f"--set expects section.key=value, not {override!r}")
    section = tree
    for part in path[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a section")
    section[path[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """Read a TOML value; `none` is the absence of one and anything else is a text."""
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(error: ValidationError) -> str:
    """Describe the first mistake, an unknown key before all others."""
    mistakes = sorted(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
    first = mistakes[0]
    place = [str(part) for part in first["loc"]]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys(TrainConfig, place[:-1])
        return f"unknown key {'.'.join(place)!r} in the configuration; {nearest(place[-1], known)}{more}"
    if first["type"] == "missing":
        return f"the configuration lacks {'.'.join(place)!r}{more}"
    message = first["msg"].removeprefix("Value error, ")
    came = "" if first["type"] == "value_error" else f", not {first['input']!r}"
    return f"{'.'.join(place) or 'configuration'}: {message[0].lower() + message[1:]}{came}{more}"


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation
        options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)
