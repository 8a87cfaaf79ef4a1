"""Builds the collector of a run from its configuration."""

from __future__ import annotations

from empg_gym.rollout import Limits, Rollout
from empg_gym.trainers.collect.collector import Collector
from empg_gym.trainers.collect.journal import Journal
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.generate.base import Generator
from empg_gym.trainers.run.stages import Stages


def build_collector(config: TrainConfig, stages: Stages, agent: Generator, journal: Journal | None) -> Collector:
    """Return the collector of the training split.

    Raises:
        ConfigError: an unknown environment.
        DataError: the environment's data is missing.
    """
    recipe = config.env.recipe()
    settings = config.rollout
    limits = Limits(max_row_tokens=settings.max_row_tokens)
    return Collector(
        Rollout(
            recipe,
            agent,
            limits=limits,
            concurrency=settings.concurrency,
            retries=settings.retries,
            backend=settings.environments(),
        ),
        journal,
        source=stages.task_source,
        plan=stages.plan,
        outcome=stages.reward,
        seed=config.run.seed,
        tasks=config.rl.tasks_per_step,
        repeats=config.rl.repeats,
        num_tasks=recipe.num_tasks(),
    )
