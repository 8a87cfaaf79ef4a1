"""The episodes of one evaluation, in all its environments: run, written down and summarised.

Rules:
    - One pool of episodes serves all environments, so that a server is busy until the last of them.
    - A failed episode is retried in a fresh environment; if its retries fail too, it is recorded as an error and the others continue.
    - User errors abort the run; finished episodes are on disk, and the summary says that it is incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents import BaseAgent
from empg_gym.errors import ConfigError
from empg_gym.evaluation.config import EvalConfig
from empg_gym.evaluation.folder import RunFolder
from empg_gym.evaluation.summary import Summary, entry_key, merge, versions
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import EpisodeSpec, Rollout
from empg_gym.rollout.panels import find_panel
from empg_gym.rollout.plan import choose_tasks, episode_specs
from empg_gym.runs.redaction import Redactor, is_secret
from empg_gym.scoring.aggregate import aggregate
from empg_gym.scoring.record import EpisodeRecord, record_of
from empg_gym.trajectory import StopReason, Trajectory

FORMAT = "empg-gym/evaluation"
_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is notified of the progress of an evaluation, like the live table of the command line."""

    def begin(self, totals: Mapping[str, int], done: Sequence[EpisodeRecord]) -> None:
        """Called once, with the number of episodes of each environment and the records of the run that is resumed."""
        ...

    def episode(self, record: EpisodeRecord) -> None:
        """Called as each episode ends."""
        ...

    def end(self) -> None:
        """Called once, also after a failure."""
        ...


@runtime_checkable
class TakesNotes(Protocol):
    """The optional part of a watcher."""

    def note(self, text: str) -> None:
        """Called before the start with the options that a training run decided."""
        ...


@dataclass(slots=True)
class _Work:
    """One environment of a run."""

    recipe: EnvRecipe
    tasks: list[str]
    facts: dict[str, Any]
    rollout: Rollout


class EvaluationRun:
    """One call of `evaluate`.

    Args:
        config: what to run.
        agent: the agent; the caller closes it.
    """

    def __init__(self, config: EvalConfig, agent: BaseAgent) -> None:
        self.config, self.agent = config, agent
        self.concurrency = config.concurrency or agent.info.concurrency
        self.limits = config.episode_limits(agent.info)
        self.works: dict[str, _Work] = {}
        self.records: dict[tuple[str, str, int], EpisodeRecord] = {}
        self.redactor = Redactor(config.agent_options, config.env_kwargs, agent.info.settings)

    def add(self, recipe: EnvRecipe) -> None:
        """Add an environment to the run.

        Raises:
            ConfigError, TaskError, DataError, MissingDependencyError: it can't be made, lacks a task, or is in the run already.
        """
        with contextlib.closing(self.config.backend.make(recipe)) as env:
            chosen, panel = self._choose(env)
            facts = {**recipe.describe(env), **panel}
        key = f"{recipe.env_id}@{facts['split']}"
        if key in self.works:
            raise ConfigError(f"{key} is named twice; use repeats to run tasks more than once")
        rollout = Rollout(recipe, self.agent, limits=self.limits, retries=self.config.retries, backend=self.config.backend)
        self.works[key] = _Work(recipe, chosen, facts, rollout)

    def _choose(self, env: LLMAgentEnv) -> tuple[list[str], dict[str, Any]]:
        """Return the tasks to run, and the entry of the results that names their panel."""
        config = self.config
        if config.panel is not None:
            chosen = find_panel(config.panel).choose(env)
            return list(chosen.tasks), {"panel": chosen.describe()}
        return choose_tasks(env.text_env, tasks=config.tasks, episodes=config.episodes, seed=config.seed), {}

    def close(self) -> None:
        """Close the environments."""
        for work in self.works.values():
            work.rollout.close()

    async def play(self, watch: Watcher | None) -> Summary:
        """Run the episodes that are not done yet and return the summary of all.

        Raises:
            OutputExistsError: the run folder holds something else.
            EMPGGymError: an error for the user to fix; finished episodes are on disk.
        """
        self._shorten_keys()
        try:
            await self.agent.check()
            with self._folder(self.config.out) as folder:
                began = time.monotonic()
                if folder is not None and self.agent.info.tokenizer is not None:
                    folder.keep_tokenizer(self.agent.info.tokenizer)
                if folder is not None and folder.unverified:
                    self._note(watch, f"{folder.unverified} lines in {folder.path} have no digest: it is not known who wrote them")
                if watch is not None:
                    watch.begin(self._totals(), list(self.records.values()))
                try:
                    await self._workers(folder, watch)
                finally:
                    if watch is not None:
                        watch.end()
                    summary = self._summary(time.monotonic() - began)
                    if folder is not None:
                        folder.write_summary(summary.data)
                return summary
        finally:
            await self.agent.aclose()

    def _note(self, watch: Watcher | None, text: str) -> None:
        if isinstance(watch, TakesNotes):
            watch.note(text)
        else:
            _log.warning(text)

    def _totals(self) -> dict[str, int]:
        """Return the number of episodes of each environment."""
        return {key: len(work.tasks) * self.config.repeats for key, work in self.works.items()}

    def _shorten_keys(self) -> None:
        """Name an environment that occurs once by its id alone."""
        ids = [work.recipe.env_id for work in self.works.values()]
        self.works = {work.recipe.env_id if ids.count(work.recipe.env_id) == 1 else key: work for key, work in self.works.items()}

    @contextlib.contextmanager
    def _folder(self, out: Path | None) -> Iterator[RunFolder | None]:
        if out is None:
            yield None
            return
        folder = RunFolder(out, self.redactor)
        folder.open(self._config(), self._keep_earlier)
        try:
            yield folder
        finally:
            folder.close()

    async def _workers(self, folder: RunFolder | None, watch: Watcher | None) -> None:
        waiting = self._waiting()

        async def work_on() -> None:
            for key, spec in waiting:
                trajectory = await self._episode(key, spec)
                record = self._keep(trajectory, key)
                if folder is not None:
                    folder.append(trajectory)
                if watch is not None:
                    watch.episode(record)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(work_on())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _waiting(self) -> Iterator[tuple[str, EpisodeSpec]]:
        for key, work in self.works.items():
            for spec in episode_specs(work.tasks, repeats=self.config.repeats, seed=self.config.seed):
                if (key, str(spec.task), spec.repeat) not in self.records:
                    yield key, spec

    async def _episode(self, key: str, spec: EpisodeSpec) -> Trajectory:
        work = self.works[key]
        ((_, trajectory),) = [outcome async for outcome in work.rollout.stream([spec])]
        trajectory.agent = self._name()
        self._redact_errors(trajectory)
        if trajectory.stop_reason == StopReason.ERROR:
            # An environment that could not be made or reset has not described itself.
            trajectory.env_id, trajectory.env_version = work.recipe.env_id, work.facts["env_version"]
            trajectory.data_fingerprint, trajectory.split = work.facts["data_fingerprint"], work.facts["split"]
        return trajectory

    def _keep_earlier(self, trajectory: Trajectory) -> bool:
        """Keep an episode of an earlier run; return False if it is not one of this run, or there already."""
        key = entry_key(trajectory, self.works)
        if key not in self.works or (key, trajectory.task, trajectory.repeat) in self.records:
            return False
        work = self.works[key]
        if trajectory.task not in work.tasks or not 0 <= trajectory.repeat < self.config.repeats:
            return False
        if (trajectory.split, trajectory.data_fingerprint) != (work.facts["split"], work.facts["data_fingerprint"]):
            return False
        self._keep(trajectory, key)
        return True

    def _keep(self, trajectory: Trajectory, key: str) -> EpisodeRecord:
        record = record_of(trajectory, key)
        self.records[key, record.task, record.repeat] = record
        return record

    def _name(self) -> str:
        return self.redactor.text(self.agent.info.name or self.config.agent_name or self.config.agent)

    def _redact_errors(self, trajectory: Trajectory) -> None:
        """Errors quote servers and programs: they are not data of the episode."""
        if trajectory.error is not None:
            trajectory.error = self.redactor.text(trajectory.error)
        if "traceback" in trajectory.info:
            trajectory.info["traceback"] = self.redactor.text(str(trajectory.info["traceback"]))
        for step in trajectory.steps:
            if step.error is not None:
                step.error = self.redactor.text(step.error)

    def _config(self) -> dict[str, Any]:
        settings = self.agent.info.settings
        agent = {"options": self._without_secrets(self.config.agent_options)} if settings is None else settings
        config = {
            "format": FORMAT,
            "version": 1,
            "agent": {"name": self._name(), **agent},
            "environments": {key: {**work.facts, "tasks": work.tasks} for key, work in self.works.items()},
            "repeats": self.config.repeats,
            "seed": self.config.seed,
            "limits": {
                "max_steps": self.limits.max_steps,
                "end_on_cut_response": self.limits.end_on_cut_response,
                "max_row_tokens": self.limits.max_row_tokens,
                "max_seconds": self.limits.max_seconds,
            },
            "concurrency": self.concurrency,
            "retries": self.config.retries,
            "backend": self.config.backend.name,
            "prices": None if self.config.prices is None else asdict(self.config.prices),
            "versions": versions(),
        }
        redacted: dict[str, Any] = self.redactor.tree(config)
        return redacted

    def _without_secrets(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return an agent's options as the configuration file may hold them."""
        return {
            name: value if value is None or isinstance(value, str | int | float | bool) else repr(self.redactor.tree(value))
            for name, value in options.items()
            if not is_secret(name)
        }

    def _summary(self, seconds: float) -> Summary:
        results, config = {}, self.config
        for key, work in self.works.items():
            records = [record for record in self.records.values() if record.env == key]
            results[key] = merge({**work.facts, "seed": config.seed, "repeats": config.repeats}, aggregate(records, prices=config.prices))
        planned = sum(self._totals().values())
        data = {
            "format": FORMAT,
            "version": 1,
            "agent": self._name(),
            "seed": self.config.seed,
            "complete": planned == len(self.records),
            "planned": planned,
            "wall_seconds": seconds,
            "results": results,
            "versions": versions(),
        }
        return Summary(self.redactor.tree(data), tuple(self.records.values()))
