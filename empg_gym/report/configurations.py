"""Training runs by configuration: runs that differ only in the seed belong together.

Rules:
    - As in a study, the settings `run.*` (folder, device, bookkeeping) are not part of a configuration.
    - In paths, the seed's number is not either: runs that continue from `warm/0` and `warm/1` belong together.
    - A configuration is named by the settings in which the configurations differ; where these are too many, by its folders.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from empg_gym.errors import ConfigError
from empg_gym.report.cells import number
from empg_gym.report.run_reader import RunReader
from empg_gym.report.tables import flatten
from empg_gym.scoring.format import MISSING

_APART = "run."
_NAMED = 3
"""Most settings in a name."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The runs of one configuration, by seed."""

    name: str
    runs: dict[int, RunReader]
    settings: dict[str, str]
    """Settings in which the configurations differ, as text."""

    @property
    def label(self) -> str:
        """The name, and how many seeds it has where these are several."""
        return self.name if len(self.runs) == 1 else f"{self.name}, {len(self.runs)} seeds"


def seed_of(run: RunReader) -> int:
    """Return the seed of a training run; 0 where its configuration does not state it."""
    section = run.config.get("run")
    return int(number(section.get("seed")) or 0) if isinstance(section, dict) else 0


def configurations(runs: Sequence[RunReader]) -> list[Configuration]:
    """Return the configurations in the order of their first runs.

    Raises:
        ConfigError: two runs have the same configuration and seed.
    """
    flat = [_settings(run) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    varying = [key for key in keys if len({one.get(key) for one in flat}) > 1]
    groups: dict[tuple[str | None, ...], dict[int, RunReader]] = {}
    for run, one in zip(runs, flat, strict=True):
        members = groups.setdefault(tuple(one.get(key) for key in varying), {})
        seed = seed_of(run)
        if seed in members:
            raise ConfigError(f"{members[seed].name} and {run.name} have the same configuration and seed {seed}: leave one of them out")
        members[seed] = run
    names = _names(varying, groups)
    return [
        Configuration(name, dict(sorted(members.items())), {key: value or MISSING for key, value in zip(varying, values, strict=True)})
        for name, (values, members) in zip(names, groups.items(), strict=True)
    ]


def _settings(run: RunReader) -> dict[str, str]:
    number = re.compile(rf"(?<=[-_=/]){seed_of(run)}(?=[-_/.]|$)")
    settings = ((key, value) for key, value in flatten(run.config) if not key.startswith(_APART))
    return {key: number.sub("SEED", value) if "/" in value else value for key, value in settings}


def _names(varying: Sequence[str], groups: dict[tuple[str | None, ...], dict[int, RunReader]]) -> list[str]:
    folders = [" + ".join(run.name for run in members.values()) for members in groups.values()]
    if len(groups) == 1 or all(len(members) == 1 for members in groups.values()):
        return folders
    named = [
        [_setting(key, value) for key, value in zip(varying, values, strict=True) if value not in (None, MISSING)] for values in groups
    ]
    names = [", ".join(parts) for parts in named]
    return names if all(0 < len(parts) <= _NAMED for parts in named) and len(set(names)) == len(names) else folders


def _setting(key: str, value: str | None) -> str:
    return str(value) if key == "algorithm.advantage" else f"{key.rpartition('.')[2]} {value}"
