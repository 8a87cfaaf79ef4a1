"""Scorers, by name: where the old log-probabilities and entropies of a batch come from (`rl.old_logprobs`).

A scorer is a function `(Policy, RolloutBatch, *, options) -> TokenScores` of values without gradient: [N] for the generated tokens of the
batch, under the policy that generated them. It is called before the first update from the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from empg_gym.trainers.data.batch import RolloutBatch
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.registry import Registry

if TYPE_CHECKING:
    from empg_gym.trainers.policy.policy import Policy


def _scores(result: object, policy: Policy, batch: RolloutBatch) -> str | None:
    tokens = (len(batch.step_of_token),)
    if isinstance(result, TokenScores) and result.logprobs.shape == result.entropies.shape == tokens:
        return None
    return f"TokenScores of shape {tokens}, one value per token, not " + (
        f"of shapes {tuple(result.logprobs.shape)} and {tuple(result.entropies.shape)}"
        if isinstance(result, TokenScores)
        else type(result).__name__
    )


BatchScorer = Callable[..., TokenScores]
"""`(Policy, RolloutBatch, *, options) -> TokenScores`"""
SCORERS: Registry[BatchScorer] = Registry("scorer", _scores)

UNSCORED = "rollout/unscored_tokens"
"""Metric of the scorer "rollout": tokens without values from the generator; one is enough for the policy to score the batch."""


@SCORERS.register("recompute")
def recompute(policy: Policy, batch: RolloutBatch) -> TokenScores:
    """Score the batch in a forward pass of the policy."""
    return policy.score_rows(batch.rows, entropy="values")


@SCORERS.register("rollout")
def rollout(policy: Policy, batch: RolloutBatch) -> TokenScores:
    """Use the generator's values; where one is missing, score the whole batch with the policy."""
    given = TokenScores(batch.rollout_logprobs, batch.rollout_entropies)
    unscored = int((~(given.logprobs.isfinite() & given.entropies.isfinite())).sum())
    return dataclasses.replace(policy.score_rows(batch.rows, entropy="values") if unscored else given, metrics={UNSCORED: float(unscored)})
