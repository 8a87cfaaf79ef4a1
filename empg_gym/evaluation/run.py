"""The episodes of one evaluation, over all its environments: run once each, kept, counted.

Rules:
    - One pool of episodes serves all environments, so that a server is kept busy until the very last of them.
    - An episode that fails is run again in a fresh environment; if it fails again it is recorded as an error and the rest goes on.
    - What the user has to mend ends the run; what is done so far is on disk, and the summary says that it is not complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from empg_gym.agents import BaseAgent
from empg_gym.errors import ConfigError
from empg_gym.evaluation.folder import RunFolder
from empg_gym.evaluation.settings import is_secret
from empg_gym.evaluation.summary import Summary, entry_key, merge, versions
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import EnvBackend, EpisodeSpec, Limits, Rollout
from empg_gym.rollout.plan import choose_tasks, episode_specs
from empg_gym.scoring.aggregate import aggregate
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord, record_of
from empg_gym.trajectory import StopReason, Trajectory

FORMAT = "empg-gym/evaluation"


class Watcher(Protocol):
    """Is told how an evaluation goes, as the live table of the command line is.

    One that has `note(text)` is told before the start what was decided on the user's behalf: which options a training run decided.
    """

    def begin(self, totals: Mapping[str, int], done: Sequence[EpisodeRecord]) -> None:
        """Called once, with the episodes of each environment and those that an earlier run has done."""
        ...

    def episode(self, record: EpisodeRecord) -> None:
        """Called as each episode ends."""
        ...

    def end(self) -> None:
        """Called once, also after a failure."""
        ...


@dataclass(slots=True)
class _Work:
    """One environment of a run."""

    recipe: EnvRecipe
    tasks: list[str]
    facts: dict[str, Any]
    rollout: Rollout


class Run:
    """The work of one call of `evaluate`; see there for the meaning of its parts."""

    def __init__(
        self,
        *,
        player: BaseAgent,
        label: str,
        options: dict[str, Any],
        repeats: int,
        seed: int,
        concurrency: int,
        retries: int,
        backend: EnvBackend,
        limits: Limits,
        prices: Prices | None,
    ) -> None:
        self.player, self.label, self.options = player, label, options
        self.repeats, self.seed, self.concurrency, self.retries = repeats, seed, concurrency, retries
        self.limits, self.prices, self.backend = limits, prices, backend
        self.works: dict[str, _Work] = {}
        self.records: dict[tuple[str, str, int], EpisodeRecord] = {}

    def add(self, recipe: EnvRecipe, tasks: Sequence[str | int] | None, episodes: int | None) -> None:
        """Take an environment into the run."""
        env = self.backend.make(recipe)
        try:
            chosen = choose_tasks(env.text_env, tasks=tasks, episodes=episodes, seed=self.seed)
            facts = recipe.describe(env)
        finally:
            env.close()
        key = f"{recipe.env_id}@{facts['split']}"
        if key in self.works:
            raise ConfigError(f"{key} is named twice; use repeats to run tasks more than once")
        rollout = Rollout(recipe, self.player, limits=self.limits, retries=self.retries, backend=self.backend)
        self.works[key] = _Work(recipe, chosen, facts, rollout)

    def close(self, *, made_here: bool) -> None:
        for work in self.works.values():
            work.rollout.close()
        if made_here:
            self.player.close()

    async def play(self, out: Path | None, watch: Watcher | None) -> Summary:
        self._shorten_keys()
        try:
            await self.player.check()
            with self._folder(out) as folder:
                began = time.monotonic()
                if watch is not None:
                    watch.begin({key: len(work.tasks) * self.repeats for key, work in self.works.items()}, list(self.records.values()))
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
            await self.player.aclose()

    def _shorten_keys(self) -> None:
        """Name an environment that occurs once by its id alone."""
        ids = [work.recipe.env_id for work in self.works.values()]
        self.works = {work.recipe.env_id if ids.count(work.recipe.env_id) == 1 else key: work for key, work in self.works.items()}

    @contextlib.contextmanager
    def _folder(self, out: Path | None) -> Iterator[RunFolder | None]:
        if out is None:
            yield None
            return
        folder = RunFolder(out)
        folder.open(self._config(), self._take_over)
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
            for spec in episode_specs(work.tasks, repeats=self.repeats, seed=self.seed):
                if (key, str(spec.task), spec.repeat) not in self.records:
                    yield key, spec

    async def _episode(self, key: str, spec: EpisodeSpec) -> Trajectory:
        work = self.works[key]
        ((_, trajectory),) = [outcome async for outcome in work.rollout.stream([spec])]
        trajectory.agent = self._name()
        if trajectory.stop_reason == StopReason.ERROR:
            # An environment that was not made or did not start could not say what it is.
            trajectory.env_id, trajectory.env_version = work.recipe.env_id, work.facts["env_version"]
            trajectory.data_fingerprint, trajectory.split = work.facts["data_fingerprint"], work.facts["split"]
        return trajectory

    def _take_over(self, trajectory: Trajectory) -> None:
        """Keep an episode of an earlier run."""
        self._keep(trajectory, entry_key(trajectory, self.works))

    def _keep(self, trajectory: Trajectory, key: str) -> EpisodeRecord:
        record = record_of(trajectory, key)
        self.records[key, record.task, record.repeat] = record
        return record

    def _name(self) -> str:
        return self.player.info.name or self.label

    def _config(self) -> dict[str, Any]:
        settings = self.player.info.settings
        agent = {"options": _without_secrets(self.options)} if settings is None else settings
        return {
            "format": FORMAT,
            "version": 1,
            "agent": {"name": self._name(), **agent},
            "environments": {key: {**work.facts, "tasks": work.tasks} for key, work in self.works.items()},
            "repeats": self.repeats,
            "seed": self.seed,
            "limits": {
                "max_turns": self.limits.max_turns,
                "end_on_cut_response": self.limits.end_on_cut_response,
                "max_row_tokens": self.limits.max_row_tokens,
                "max_seconds": self.limits.max_seconds,
            },
            "concurrency": self.concurrency,
            "retries": self.retries,
            "prices": None if self.prices is None else asdict(self.prices),
            "versions": versions(),
        }

    def _summary(self, seconds: float) -> Summary:
        results = {}
        for key, work in self.works.items():
            records = [record for record in self.records.values() if record.env == key]
            results[key] = merge({**work.facts, "seed": self.seed, "repeats": self.repeats}, aggregate(records, prices=self.prices))
        planned = sum(len(work.tasks) * self.repeats for work in self.works.values())
        data = {
            "format": FORMAT,
            "version": 1,
            "agent": self._name(),
            "seed": self.seed,
            "complete": planned == len(self.records),
            "planned": planned,
            "wall_seconds": seconds,
            "results": results,
            "versions": versions(),
        }
        return Summary(data, tuple(self.records.values()))


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration may tell of an agent's options."""
    return {
        name: value if value is None or isinstance(value, str | int | float | bool) else repr(value)
        for name, value in options.items()
        if not is_secret(name)
    }
