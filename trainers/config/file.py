"""Read a training configuration: TOML files, then `--set` overrides, then the models of `empg_gym.trainers.config.sections`.

Rules:
    - Later files override earlier ones key by key, at any depth, and overrides come last. A list replaces a list.
    - Options belong to a name: a file that sets `NAME` (say `algorithm.plan`) starts from its own `NAME_options`, and one that sets `name`
      (say `rl.optimizer.name`) from its own `options`, so that options of what it replaces don't reach it.
    - An environment named by the caller replaces that of the files, and with it what belongs to the other one: its data, arguments, splits,
      panels and limit of steps. The chat settings stay, and without splits the held-out one is evaluated.
    - An error names the file or the override that set the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError
from empg_gym.registration import find_id, held_out_split
from empg_gym.runs.overrides import apply_overrides, parse_override
from empg_gym.runs.redaction import Redactor
from empg_gym.runs.validation import validate
from empg_gym.trainers.config.presets import find_config
from empg_gym.trainers.config.sections import EnvConfig, TrainConfig

Key = tuple[str, ...]
OPTIONS = "_options"
_OF_THE_ENVIRONMENT = {"env": ("data", "options", "embedded_options", "max_steps", "split"), "eval": ("splits", "panel")}
"""Keys that another environment does not inherit, by section."""


def load_config(files: str | Path | Sequence[str | Path], overrides: Iterable[str] = (), *, env: str | None = None) -> TrainConfig:
    """Read one or several configuration files and apply overrides of the form `a.b=value`.

    Args:
        files: TOML files or names of presets (`empg_gym.trainers.config.presets`); later ones override earlier ones.
        overrides: applied after all files.
        env: environment to train in, in place of that of the files: an id, a short name or `module:id`; None keeps it.

    Raises:
        ConfigError: the environment is unknown, a file is missing or is not TOML, an override is malformed, a key is unknown or a value
            can't be used.

    Example:
        >>> config = load_config(["alfworld", "dapo", Path("mine.toml")], ["run.seed=1"])
    """
    tree: dict[str, Any] = {}
    sources: dict[Key, str] = {}
    for path in map(find_config, [files] if isinstance(files, str | Path) else files):
        _merge(tree, _read(path), (), str(path), sources)
    if env is not None:
        _replace_environment(tree, env, sources)
    overrides = list(overrides)
    apply_overrides(tree, overrides)
    sources |= {tuple(parse_override(override)[0]): f"--set {override}" for override in overrides}
    return validate(TrainConfig, tree, source=lambda key: _source(key, sources))


def parse_config(tree: Mapping[str, Any]) -> TrainConfig:
    """Validate a tree of sections and keys.

    Raises:
        ConfigError: a key is unknown or a value can't be used.
    """
    return validate(TrainConfig, tree)


def to_toml(config: TrainConfig) -> str:
    """Return the configuration as TOML, without secrets, and without keys that are None, which is the default of a missing key."""
    import tomlkit

    return tomlkit.dumps(_without_none(redacted_config(config)))


def redacted_config(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as plain data, as it is written and shown: without secrets."""
    tree = config.model_dump(mode="json")
    redacted: dict[str, Any] = Redactor(tree).tree(tree)
    return redacted


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: _without_none(value) if isinstance(value, dict) else value for key, value in tree.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file at {path}; empg-gym train --list shows the presets, which need no path") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _merge(tree: dict[str, Any], new: Mapping[str, Any], place: Key, source: str, sources: dict[Key, str]) -> None:
    """Override `tree` with `new`, and record the source of each key."""
    for key in new:
        tree.pop("options" if key == "name" else f"{key}{OPTIONS}", None)
    for key, value in new.items():
        sources[*place, key] = source
        if not isinstance(value, dict):
            tree[key] = value
            continue
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        _merge(tree[key], value, (*place, key), source, sources)


def _replace_environment(tree: dict[str, Any], env: str, sources: dict[Key, str]) -> None:
    env_id, before = find_id(env), tree.get("env", {}).get("id", EnvConfig.model_fields["id"].default)
    if str(before).rpartition(":")[2] != env_id:
        for section, keys in _OF_THE_ENVIRONMENT.items():
            for key in keys:
                tree.get(section, {}).pop(key, None)
    named = f"{env.rpartition(':')[0]}:{env_id}" if ":" in env else env_id
    _merge(tree, {"env": {"id": named}}, (), f"--env {env}", sources)
    split = held_out_split(env_id)
    if split is not None and not {"splits", "panel"} & tree.get("eval", {}).keys():
        _merge(tree, {"eval": {"splits": [split]}}, (), f"--env {env}", sources)


def _source(key: Key, sources: Mapping[Key, str]) -> str | None:
    """Return what set `key`, or the nearest section around it."""
    return next((sources[key[:length]] for length in range(len(key), 0, -1) if key[:length] in sources), None)
