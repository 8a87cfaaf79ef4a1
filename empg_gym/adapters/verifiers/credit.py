"""EMPG on the traces of verifiers, for prime-rl.

prime-rl scores a group of episodes and writes the advantages of each sampled token to the nodes of the trace graph. A step is a node with
sampled tokens. Two differences from EMPG as published, both due to what a group has at this point:
    - The statistics run over the group, not over the batch.
    - Where no forward pass has filled `node.entropies`, the mean of -log p of the sampled tokens estimates the step's entropy: without
      bias under the sampling distribution, with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from empg_gym.adapters.credit import EMPGOptions, options_of
from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.empg import modulate


def modulate_traces(traces: Sequence[Any], options: EMPGOptions | dict[str, Any] | None = None) -> int:
    """Modulate the advantages of a group's traces in place, and return the number of steps.

    Args:
        traces: `verifiers.v1.Trace` objects whose nodes have advantages, as a base algorithm assigned them. Traces without are left alone.
        options: of the modulation.

    Raises:
        ConfigError: an option is unknown or out of range, or a node has neither entropies nor log-probabilities.
    """
    chosen = options_of(options)
    steps = [
        (number, index, node)
        for number, trace in enumerate(traces)
        for index, node in enumerate(node for node in trace.nodes if node.sampled and any(node.mask) and node.advantages)
    ]
    if not steps:
        return 0
    base = torch.tensor([_mean(node.advantages) for _, _, node in steps], dtype=torch.float64)
    entropies = torch.tensor([_entropy(node) for _, _, node in steps], dtype=torch.float64)
    trajectory, step = (torch.tensor([item[part] for item in steps], dtype=torch.int64) for part in (0, 1))
    values = modulate(
        base, entropies, trajectory, step, k=chosen.k, k_future=chosen.k_future, zeta=chosen.zeta, center=chosen.center
    ).tolist()  # fmt: skip
    for (_, _, node), value in zip(steps, values, strict=True):
        node.advantages = [value] * len(node.advantages)
    return len(steps)


class EMPGCredit:
    """Mixed into an algorithm of prime-rl, it modulates what that algorithm assigned.

    Example:
        >>> class EMPGAlgorithm(EMPGCredit, GRPOAlgorithm):
        ...     empg = EMPGOptions(zeta=0.05)
    """

    empg: EMPGOptions = EMPGOptions()

    async def score_group(self, episodes: Sequence[Any]) -> None:
        """Assign the base's advantages and modulate them."""
        await super().score_group(episodes)  # type: ignore[misc]
        modulate_traces([trace for episode in episodes for trace in episode.traces], self.empg)


def _entropy(node: Any) -> float:
    if node.entropies:
        return _mean(node.entropies)
    if node.logprobs:
        return -_mean(node.logprobs)
    raise ConfigError("EMPG needs entropies or log-probabilities of the sampled tokens; use a client that records them (renderer)")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
