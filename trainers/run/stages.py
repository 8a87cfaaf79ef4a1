"""The stages of a training step, as a configuration names them, in their order.

    task source -> rollout plan (generator) -> reward -> filters -> shapers -> scorer -> advantage
    -> updater (policy loss, aggregation, optimizer)

Each is a registered name or a user's own `module:object`. The trainer, `--dry-run` and `--explain` build them here, so that they accept the
same configurations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from empg_gym.trainers.algorithms import ADVANTAGES, POLICY_LOSSES, needs_of
from empg_gym.trainers.collect.plans import PLANS
from empg_gym.trainers.collect.tasks import TASK_SOURCES
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.aggregation import AGGREGATIONS, token_weights
from empg_gym.trainers.data.rewards import FILTERS, OUTCOMES, SHAPERS
from empg_gym.trainers.generate.backends import BACKENDS
from empg_gym.trainers.policy.optimizers import OPTIMIZERS
from empg_gym.trainers.policy.scorers import SCORERS
from empg_gym.trainers.policy.updaters import UPDATERS
from empg_gym.trainers.registry import Bound
from empg_gym.trainers.run.probe import PROBE_BATCH, PROBE_EPISODE, PROBE_TOKENS, probe, probe_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The functions of a training step, each with its options filled in."""

    task_source: Bound
    plan: Bound
    generator: Bound
    reward: Bound
    filters: tuple[Bound, ...]
    shapers: tuple[Bound, ...]
    scorer: Bound
    advantage: Bound
    policy_loss: Bound
    aggregation: Bound
    updater: Bound
    optimizer: Bound

    def __iter__(self) -> Iterator[Bound]:
        """Iterate over the stages in the order of a training step."""
        for field in fields(self):
            stage = getattr(self, field.name)
            yield from stage if isinstance(stage, tuple) else (stage,)


def build_stages(config: TrainConfig) -> Stages:
    """Find the stages of a configuration and try their options on small batches.

    Raises:
        ConfigError: an unknown stage, an option that it lacks, or a value that it can't use.
    """
    rl, algorithm = config.rl, config.algorithm
    stages = Stages(
        task_source=TASK_SOURCES.bind(algorithm.task_source, algorithm.task_source_options),
        plan=PLANS.bind(algorithm.plan, algorithm.plan_options),
        generator=BACKENDS.bind(config.rollout.backend, config.rollout.backend_options),
        reward=OUTCOMES.bind(rl.reward, {}),
        filters=tuple(FILTERS.bind(stage.name, stage.options) for stage in algorithm.filters),
        shapers=tuple(SHAPERS.bind(stage.name, stage.options) for stage in algorithm.shapers),
        scorer=SCORERS.bind(rl.old_logprobs, rl.old_logprobs_options),
        advantage=ADVANTAGES.bind(algorithm.advantage, algorithm.advantage_options),
        policy_loss=POLICY_LOSSES.bind(algorithm.policy_loss, algorithm.policy_loss_options),
        aggregation=AGGREGATIONS.bind(rl.aggregation, {}),
        updater=UPDATERS.bind(rl.updater, rl.updater_options),
        optimizer=OPTIMIZERS.bind(rl.optimizer.name, rl.optimizer.options),
    )
    OPTIMIZERS.bind(config.warmstart.optimizer.name, config.warmstart.optimizer.options)
    probe("algorithm.advantage_options", lambda: stages.advantage(PROBE_BATCH).values)
    probe("algorithm.policy_loss_options", lambda: stages.policy_loss(probe_tokens(needs_of(stages.policy_loss.function))).loss)
    probe("algorithm.shapers", lambda: torch.tensor([shape(PROBE_EPISODE) for shape in stages.shapers]))
    probe("rl.aggregation", lambda: token_weights(PROBE_TOKENS.row, stages.aggregation, config.rollout.max_row_tokens))
    return stages
