"""Builds the collector of a run from its configuration."""

from __future__ import annotations

from empg_gym.rollout import Limits, Rollout
from empg_gym.trainers.collect.collector import Collector
from empg_gym.trainers.collect.journal import Journal
from empg_gym.trainers.collect.plans import PLANS
from empg_gym.trainers.collect.tasks import TASK_SOURCES
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.rewards import OUTCOMES
from empg_gym.trainers.generate.base import Generator


def build_collector(config: TrainConfig, agent: Generator, journal: Journal | None) -> Collector:
    """Return the collector of the training split.

    Raises:
        ConfigError: an unknown environment, task source, plan or reward, or an option that it lacks.
        DataError: the environment's data is missing.
    """
    recipe = config.env.recipe()
    settings, algorithm = config.rollout, config.algorithm
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
        source=TASK_SOURCES.bind(algorithm.task_source, algorithm.task_source_options),
        plan=PLANS.bind(algorithm.plan, algorithm.plan_options),
        outcome=OUTCOMES.find(config.rl.reward),
        seed=config.run.seed,
        tasks=config.rl.tasks_per_step,
        repeats=config.rl.repeats,
        num_tasks=recipe.num_tasks(),
    )
