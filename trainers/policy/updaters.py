"""Updaters, by name: how the policy learns from a scored batch (`rl.updater`).

An updater is built once per phase by a factory `(UpdaterParts, *, options) -> Updater`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import Advantages, PolicyLoss, PolicyTokens
from empg_gym.trainers.config.sections import RLConfig
from empg_gym.trainers.data.batch import RolloutBatch
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.registry import Registry

if TYPE_CHECKING:
    from empg_gym.trainers.policy.optimizer import Optimizer
    from empg_gym.trainers.policy.reference import Reference

NONFINITE = "loss/nonfinite_updates"
"""Metric of an updater: discarded updates of a step; absent without any. The batch is then written to `nonfinite/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdaterParts:
    """What an updater works with."""

    optimizer: Optimizer
    """Of the policy, `optimizer.policy`."""
    policy_loss: Callable[[PolicyTokens], PolicyLoss]
    """With its options filled in."""
    loss_needs: frozenset[str] = frozenset()
    """Fields of `PolicyTokens` that the policy loss declares (`empg_gym.trainers.algorithms.needs_of`)."""
    aggregation: Callable[[Tensor, int], Tensor]
    """See `empg_gym.trainers.data.aggregation`."""
    rl: RLConfig
    """Mini-batches, epochs, coefficients and memory."""
    seed: int
    """Of the run."""
    row_budget: int
    """Tokens of a row, for aggregations with a constant divisor."""
    reference: Reference | None = None
    """The policy that the KL divergence is measured to; None where `rl.kl_coef` is 0."""


@runtime_checkable
class Updater(Protocol):
    """Updates the policy from one batch per step."""

    def update(self, step: int, batch: RolloutBatch, old: TokenScores, advantages: Advantages) -> dict[str, float]:
        """Update the policy from the batch of step `step`, counted from 0, and return the metrics.

        Args:
            step: number of the step; everything random is a function of it and the seed.
            batch: the episodes.
            old: [N] scores of the generated tokens under the policy that generated them.
            advantages: [S] of the steps.

        Raises:
            TrainingError: training has collapsed.
        """
        ...


UpdaterFactory = Callable[..., Updater]
"""`(UpdaterParts, *, options) -> Updater`"""
UPDATERS: Registry[UpdaterFactory] = Registry("updater")


@UPDATERS.register("minibatches")
def minibatches(parts: UpdaterParts) -> Updater:
    """Cut the batch into `rl.minibatches` by trajectories and take one update per mini-batch, in `rl.epochs` passes."""
    from empg_gym.trainers.policy.update import MinibatchUpdater

    return MinibatchUpdater(parts)


def build_updater(name: str, factory: Callable[[UpdaterParts], object], parts: UpdaterParts) -> Updater:
    """Build an updater.

    Args:
        name: of the factory, for the error.
        factory: with its options filled in.
        parts: its argument.

    Raises:
        ConfigError: the factory does not return an updater.
    """
    updater = factory(parts)
    if not isinstance(updater, Updater):
        raise ConfigError(f"the updater {name!r} must return an object with a method update, not {type(updater).__name__}")
    return updater
