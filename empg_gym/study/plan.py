"""From a study to training runs.

Rules:
    - Per environment and seed there is one warm start, in a run of its own without reinforcement; every method continues from its weights.
      Where the configuration has no warm start (a named model), there is no such run.
    - Runs are paired by construction: methods share seed, tasks per step, stream of tasks and evaluation. A method that changes any of
      this, the environment, the model or its number type is refused.
    - `set` of the study and of an environment hold for every method. A method that needs another value says so in its own `set`; if its
      configuration files do, it is refused, as they would have no effect.
    - A run uses one thread, so that its result doesn't depend on how many run at once.
    - Seeds are outermost: a finished seed has all methods.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError
from empg_gym.runs.folder import CONFIG, SUMMARY
from empg_gym.runs.json_file import read_json
from empg_gym.runs.overrides import parse_override
from empg_gym.runs.redaction import Redactor
from empg_gym.runs.resume import require_same
from empg_gym.study.config import PartSection, StudyConfig
from empg_gym.trainers.config.file import load_config, redacted_config
from empg_gym.trainers.config.sections import RunConfig, TrainConfig

WARM = "warm"
"""Folder of the warm starts."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHARED = (
    *("env", "model", "warmstart", "eval", "run.dtype", "rollout.max_response_tokens", "rollout.max_row_tokens"),
    *("rl.steps", "rl.tasks_per_step", "algorithm.task_source", "algorithm.task_source_options"),
)
"""What the methods of an environment may not change: without it, tasks or budgets would differ."""
_RUN_MAY_DIFFER = tuple(f"run.{key}" for key in RunConfig.model_fields if key != "seed")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One training run of a study."""

    environment: str
    method: str | None
    """None is the warm start."""
    seed: int
    folder: Path
    config: TrainConfig
    """The resolved configuration."""
    files: tuple[str, ...]
    overrides: tuple[str, ...]
    after: Path | None = None
    """Folder of the warm start that has to be finished first."""

    @property
    def name(self) -> str:
        """For people: "alfworld/grpo/3"."""
        return f"{self.environment}/{self.method or WARM}/{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return is_finished(self.folder)

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds a part of the run."""
        return (self.folder / CONFIG).is_file()

    @property
    def arguments(self) -> list[str]:
        """Arguments of `empg-gym` that run or resume it."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        return ["train", *self.files, *sets, "--resume"]

    @property
    def command(self) -> str:
        """The command line, for people."""
        return shlex.join(["empg-gym", *self.arguments])

    def check_folder(self) -> None:
        """Check that what the folder holds is this run.

        Raises:
            OutputExistsError: it holds a run with another configuration.
            DataError: its configuration is damaged.
        """
        if self.is_begun:
            saved = Redactor().tree(read_json(self.folder / CONFIG, hint="remove this run's folder"))
            require_same(self.folder, saved, redacted_config(self.config), may_differ=_RUN_MAY_DIFFER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All runs of a study."""

    title: str
    study: StudyConfig
    folder: Path
    runs: tuple[Run, ...]
    """In the order in which they begin."""

    def of(self, environment: str, method: str) -> list[Run]:
        """Return the runs of a method, by seed."""
        return [run for run in self.runs if (run.environment, run.method) == (environment, method)]


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a run that has come to its end; an interrupted one has a summary too."""
    summary = folder / SUMMARY
    return summary.is_file() and read_json(summary, hint="remove this run's folder").get("complete", True) is True


def make_plan(study: StudyConfig, path: Path, out: Path | None = None) -> Plan:
    """Turn a study into runs.

    Args:
        study: the study.
        path: its file; relative configuration files are looked up beside it.
        out: folder of the study; None uses `study.out`.

    Raises:
        ConfigError: a configuration can't be used, a method would not be paired with the others, or a name can't be a folder.
    """
    folder = out or Path(study.study.out)
    for name in (*study.environments, *study.methods):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} can't be the name of a folder; use letters, digits, '.', '_', '+' and '-'")
    if WARM in study.methods:
        raise ConfigError(f"a method can't be named {WARM!r}, the folder of the warm starts; choose another name")
    runs = tuple(run for seed in study.study.seeds for name in study.environments for run in _runs(study, path, folder, name, seed))
    return Plan(title=path.stem, study=study, folder=folder, runs=runs)


def _runs(study: StudyConfig, path: Path, folder: Path, environment: str, seed: int) -> Iterator[Run]:
    base = study.environments[environment]
    files = _files(base, path)
    panel = ["eval.splits=[]", f"eval.panel={json.dumps(study.study.panel)}"] if study.study.panel else []
    common = [*base.set, *study.study.set, *panel, f"run.seed={seed}", "run.threads=1"]
    resolved = load_config(files, common)
    warm: Path | None = None
    if resolved.warmstart.steps:
        warm = folder / environment / WARM / str(seed)
        overrides = [*common, "rl.steps=0", "eval.splits=[]", "eval.panel=[]", _out(warm)]
        yield Run(
            environment=environment,
            method=None,
            seed=seed,
            folder=warm,
            config=load_config(files, overrides),
            files=tuple(files),
            overrides=tuple(overrides),
        )
        weights = json.dumps(str(warm / "checkpoints" / "rl-000000"))
        common += ["warmstart.steps=0", "model.from_scratch=none", f"model.name={weights}"]
    expected = load_config(files, common)
    for name, method in study.methods.items():
        own = folder / environment / name / str(seed)
        parts = [*files, *_files(method, path)]
        # The method's overrides come last but for those that pair the runs.
        overrides = [*base.set, *study.study.set, *method.set, *common[len(base.set) + len(study.study.set) :], _out(own)]
        config = load_config(parts, overrides)
        _check_paired(name, expected, config)
        if method.config:
            _check_reaches(name, method, (*base.set, *study.study.set), load_config(files), load_config(parts))
        yield Run(
            environment=environment,
            method=name,
            seed=seed,
            folder=own,
            config=config,
            files=tuple(parts),
            overrides=tuple(overrides),
            after=warm,
        )


def _out(folder: Path) -> str:
    return f"run.out={json.dumps(str(folder))}"


def _files(part: PartSection, path: Path) -> list[str]:
    """Return the part's configuration files; those that lie beside the study's file are named with its folder."""
    return [str(beside) if (beside := path.parent / name).is_file() else name for name in part.config]


def _check_paired(method: str, expected: TrainConfig, config: TrainConfig) -> None:
    ours, theirs = (one.model_dump(mode="json") for one in (config, expected))
    for place in _SHARED:
        if _at(ours, place) != _at(theirs, place):
            raise ConfigError(
                f"the method {method!r} changes {place}, so its runs would not be paired with the others'; set it in the environment"
            )


def _check_reaches(name: str, method: PartSection, overrides: Sequence[str], without: TrainConfig, within: TrainConfig) -> None:
    """Check that what a method's files change reaches its runs.

    Args:
        name: of the method.
        method: the method.
        overrides: of the environment and the study; they come after all files.
        without: the environment's files.
        within: these and the method's.
    """
    before, after = (one.model_dump(mode="json") for one in (without, within))
    own = [parse_override(override)[0] for override in method.set]
    for override in overrides:
        path, _ = parse_override(override)
        place = ".".join(path)
        if path not in own and _at(before, place) != _at(after, place):
            raise ConfigError(
                f"the files of the method {name!r} change {place}, but {override!r} of the study or the environment replaces it; set it in "
                "the method's own `set`"
            )


def _at(tree: Mapping[str, Any], place: str) -> Any:
    """Return the value at a place; None where there is none."""
    found: Any = tree
    for part in place.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
