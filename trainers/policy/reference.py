"""The reference that the KL divergence is measured to: another model (`Policy`), or the trained one with the adapters it began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy.head import Entropy
from empg_gym.trainers.policy.lora import adapter_weights
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.policy.scores import TokenScores


class Reference(Protocol):
    """Scores rows under weights that are not trained."""

    def score_rows(self, rows: Sequence[TokenRow], *, entropy: Entropy = "none") -> TokenScores:
        """Return [N] log-probabilities of all generated tokens of `rows`, on the CPU, without gradient."""
        ...


class AdapterReference:
    """The trained policy with other adapters, without a second copy of the model.

    Args:
        policy: the trained policy, of a model with adapters.
        state: weights of the adapters (`empg_gym.trainers.policy.lora.adapter_state`); empty for the base model.
    """

    def __init__(self, policy: Policy, state: Mapping[str, Tensor]) -> None:
        self.policy = policy
        self.state = state

    def score_rows(self, rows: Sequence[TokenRow], *, entropy: Entropy = "none") -> TokenScores:
        """Return the scores under `state`."""
        with adapter_weights(self.policy.model, self.state):
            return self.policy.score_rows(rows, entropy=entropy)
