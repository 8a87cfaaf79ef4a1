"""Read a training configuration: a TOML file, then `--set` overrides, then the models of `empg_gym.trainers.config.sections`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError
from empg_gym.runs.overrides import apply_overrides
from empg_gym.runs.validation import validate
from empg_gym.trainers.config.sections import TrainConfig


def load_config(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a configuration file and apply overrides of the form `a.b=value`.

    Raises:
        ConfigError: the file is missing or is not TOML, an override is malformed, a key is unknown or a value can't be used.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file at {path}; the presets are in the folder configs/") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    apply_overrides(tree, overrides)
    return parse_config(tree)


def parse_config(tree: Mapping[str, Any]) -> TrainConfig:
    """Validate a tree of sections and keys.

    Raises:
        ConfigError: a key is unknown or a value can't be used.
    """
    return validate(TrainConfig, tree)
