"""Loggers: where a run's metrics go in addition to `metrics.jsonl` and TensorBoard (`run.loggers`).

    wandb      Weights & Biases; without a key or with `mode = "offline"` it writes to RUN/wandb and calls no network (`wandb sync`)
    trackio    Trackio's local database; `trackio show` opens its pages

A logger is a function `(LoggerRun, *, options) -> Logger`, a registered one or your own as `module:function`.

Rules:
    - A phase has its own axis of steps: metrics are named "rl/train/success" and drawn over "rl/step".
    - A resumed run continues the same run of a logger. Steps between the checkpoint and the interrupt are logged twice, with equal values.
    - A logger that fails is reported once and left out from then on: it never ends a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from empg_gym.errors import require
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.registry import Bound, Registry

PROJECT = "empg-gym"
"""Default name of the project."""
ALWAYS = ("jsonl", "tensorboard")
"""Written by every run; they may be named too."""
PHASES = ("warmstart", "rl")
"""In the order of a run."""


class Logger(Protocol):
    """Receives the metrics of a run."""

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Take the finite metrics of a step; `step` counts from 1 in each phase."""
        ...

    def close(self) -> None:
        """Write what is pending."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerRun:
    """The run that is logged."""

    folder: Path
    config: Mapping[str, Any]
    """The configuration, without secrets."""
    resumed: bool
    """Whether the run continues from a checkpoint."""

    @property
    def name(self) -> str:
        """Name of the folder, and a short hash of its path, so that two folders of one name are two runs."""
        path = self.folder.resolve()
        return f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def _logger(result: object, run: LoggerRun) -> str | None:
    whole = all(callable(getattr(result, name, None)) for name in ("log", "close"))
    return None if whole else f"an object with log(phase, step, values) and close(), not {type(result).__name__}"


LOGGERS: Registry[Any] = Registry("logger", _logger)


@LOGGERS.register("wandb")
def wandb(
    run: LoggerRun, *, project: str = PROJECT, entity: str | None = None, mode: Literal["online", "offline"] | None = None
) -> WandbLogger:
    """Return a run of Weights & Biases.

    Args:
        run: the run.
        project: name of the project.
        entity: user or team; None uses the account's own.
        mode: None uses `WANDB_MODE`, or goes online if a key is configured.

    Raises:
        MissingDependencyError: wandb is not installed.
    """
    return WandbLogger(run, project, entity, mode)


class WandbLogger:
    """A run of Weights & Biases."""

    def __init__(self, run: LoggerRun, project: str, entity: str | None, mode: str | None) -> None:
        module: Any = require("wandb", "wandb", 'run.loggers = ["wandb"]')
        mode = mode or os.environ.get("WANDB_MODE") or ("online" if module.api.api_key else "offline")
        marker = run.folder / "wandb" / "run-id"
        if not run.resumed or not marker.is_file():
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
        self._run: Any = module.init(
            project=project,
            entity=entity,
            name=run.name,
            id=marker.read_text(encoding="utf-8").strip(),
            resume=None if mode == "offline" else "allow",
            dir=str(run.folder),
            config=dict(run.config),
            mode=mode,
            # No command line, machine or repository: they may hold secrets.
            settings=module.Settings(silent=True, console="off", x_disable_meta=True, disable_git=True, disable_code=True),
        )
        for phase in PHASES:
            self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log(_named(phase, step, values))

    def close(self) -> None:
        self._run.finish()


@LOGGERS.register("trackio")
def trackio(run: LoggerRun, *, project: str = PROJECT, space_id: str | None = None) -> TrackioLogger:
    """Return a run of Trackio.

    Args:
        run: the run.
        project: name of the project.
        space_id: a Space of Hugging Face to write to; None writes to the local database.

    Raises:
        MissingDependencyError: trackio is not installed.
    """
    return TrackioLogger(run, project, space_id)


class TrackioLogger:
    """A run of Trackio."""

    def __init__(self, run: LoggerRun, project: str, space_id: str | None) -> None:
        module: Any = require("trackio", "trackio", 'run.loggers = ["trackio"]')
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how to start its pages
            self._run: Any = module.init(
                project=project,
                name=run.name,
                space_id=space_id,
                config=dict(run.config),
                resume="allow" if run.resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log(_named(phase, step, values))

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()


def bind_loggers(config: TrainConfig) -> list[Bound]:
    """Return the loggers of a configuration with their options; none of them is started.

    Raises:
        ConfigError: a logger is unknown or lacks an option.
        MissingDependencyError: the package of one is not installed.
    """
    named = [item for item in config.run.loggers if item.name not in ALWAYS]
    for item in named:
        if item.name in LOGGERS:
            require(item.name, item.name, f'run.loggers = ["{item.name}"]')
    return [LOGGERS.bind(item.name, item.options) for item in named]


def _named(phase: str, step: int, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{phase}/step": step, **{f"{phase}/{name}": value for name, value in values.items()}}
