"""Builds the collector of a run from its configuration."""

from __future__ import annotations

from empg_gym.agents import AgentLike
from empg_gym.rollout import Limits, Rollout
from empg_gym.trainers.collect.collector import Collector
from empg_gym.trainers.collect.journal import Journal
from empg_gym.trainers.collect.tasks import TaskTypes
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.stages import Stages


def build_collector(
    config: TrainConfig, stages: Stages, agent: AgentLike, journal: Journal | None, *, limits: Limits | None = None
) -> Collector:
    """Return the collector of the training split; None limits rows as the configuration says.

    Raises:
        ConfigError: an unknown environment.
        DataError: the environment's data is missing.
    """
    recipe = config.env.recipe()
    settings = config.rollout
    return Collector(
        Rollout(
            recipe,
            agent,
            limits=limits or Limits(max_row_tokens=settings.max_row_tokens),
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
        task_types=TaskTypes(recipe),
    )
