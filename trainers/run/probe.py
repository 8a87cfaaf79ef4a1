"""Small batches on which the options of a configuration are tried before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from empg_gym.errors import ConfigError, EMPGGymError
from empg_gym.trainers.algorithms import PolicyTokens, RolloutSteps
from empg_gym.trajectory import Trajectory

PROBE_BATCH = RolloutSteps(
    rewards=torch.tensor([1.0, 0.0], dtype=torch.float64),
    groups=torch.tensor([0, 0]),
    trajectory=torch.tensor([0, 0, 1]),
    step=torch.tensor([0, 1, 0]),
    entropies=torch.tensor([0.3, 0.9, 0.4], dtype=torch.float64),
    step_rewards=torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
    success=torch.tensor([True, False]),
    truncated=torch.tensor([False, True]),
    penalties=torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64),
    valid=torch.tensor([True, True, False]),
    state=torch.tensor([0, 1, 0]),
    next_state=torch.tensor([1, 2, 3]),
    actions=("go", "take", ""),
    gold_logprobs=torch.tensor([-3.0, -1.0, -3.0], dtype=torch.float64),
    tree=torch.tensor([0, 1]),
    parent=torch.tensor([-1, -1]),
    branch_step=torch.tensor([0, 0]),
)
"""Two trajectories of one group with every optional field."""
PROBE_TOKENS = PolicyTokens(
    logprobs=torch.tensor([-0.5, -1.5]),
    old_logprobs=torch.tensor([-1.0, -1.0]),
    advantages=torch.tensor([1.0, -1.0]),
    weights=torch.tensor([0.5, 0.5]),
    row=torch.tensor([0, 1]),
    step=torch.tensor([0, 1]),
    entropies=torch.tensor([0.3, 0.9]),
    old_entropies=torch.tensor([0.4, 0.8]),
)
"""Two generated tokens."""
PROBE_EPISODE = Trajectory(env_id="", env_version="", data_fingerprint="", split="", task="", instruction="")
"""An episode without steps."""


def probe_tokens(needs: frozenset[str]) -> PolicyTokens:
    """Return two generated tokens as a policy loss with these needs sees them."""
    return PROBE_TOKENS if "entropies" in needs else replace(PROBE_TOKENS, entropies=None)


def probe(key: str, call: Callable[[], Tensor]) -> None:
    """Find option values that can't be used before the first step does.

    Args:
        key: of the configuration, for the error.
        call: computes a tensor with the options.

    Raises:
        ConfigError: `call` fails, or its result is not finite.
    """
    try:
        finite = bool(call().isfinite().all())
    except EMPGGymError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
        raise ConfigError(f"{key}: a value can't be used ({error})") from error
    if not finite:
        raise ConfigError(f"{key}: the results on a small test batch are not finite (inf or nan)")
