"""The file of a study.

Example::

    [study]
    out = "runs/study"
    seeds = 8
    panel = ["alfworld-small-unseen-1000"]

    [environments.alfworld]
    config = ["alfworld-tiny"]
    set = ["rl.steps=60"]

    [methods.grpo]
    set = ['algorithm.advantage="grpo"']

    [methods.empg]
    config = ["empg"]
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, field_validator

from empg_gym.errors import ConfigError
from empg_gym.runs.validation import validate


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _seeds(value: object) -> object:
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudySection(_Section):
    """What all runs share."""

    out: str = "runs/study"
    """Folder of the study: its runs, their logs and the page."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds), Field(min_length=1)]
    """Seeds, or their number."""
    panel: Texts = ()
    """Task panels to evaluate on; empty uses the configurations' own `eval`."""
    jobs: PositiveInt = 2
    """Runs at the same time, one thread each."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Success of the training episodes whose first step the table shows."""
    set: Texts = ()
    """Overrides of every run, as `empg-gym train --set`."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice")
        return seeds


class PartSection(_Section):
    """An environment or a method: configuration files and overrides."""

    config: Texts = ()
    """TOML files, relative to the study's file, or names of presets; later ones override earlier ones."""
    set: Texts = ()
    """Overrides, as `empg-gym train --set`."""


class StudyConfig(_Section):
    """The whole file."""

    study: StudySection
    environments: Annotated[dict[str, PartSection], Field(min_length=1)]
    """Bases: complete configurations with warm start and evaluation."""
    methods: Annotated[dict[str, PartSection], Field(min_length=1)]
    """What differs; the first method is the reference of the others."""


def load_study(path: Path) -> StudyConfig:
    """Read a study.

    Raises:
        ConfigError: the file is missing or is not TOML, a key is unknown or a value can't be used.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the study {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return validate(StudyConfig, tree, what="the study", source=lambda _: str(path))
