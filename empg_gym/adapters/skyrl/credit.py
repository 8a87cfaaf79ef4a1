"""EMPG for SkyRL's trainer.

An estimator registered with SkyRL gets rewards and masks, but no entropies, so the trainer's `compute_advantages_and_returns` is extended.
Its batch has the log-probabilities of the sampled tokens: the mean of -log p over a step estimates its entropy, without bias under the
sampling distribution, with noise. This module imports neither SkyRL nor Ray.
"""

from __future__ import annotations

from typing import Any

import torch

from empg_gym.adapters.credit import EMPGOptions, modulate_rows
from empg_gym.errors import ConfigError


def modulate_batch(data: Any, options: EMPGOptions) -> dict[str, float]:
    """Modulate `data["advantages"]` in place, and return statistics.

    Args:
        data: SkyRL's training batch, or any mapping with `advantages`, `loss_mask` and `rollout_logprobs` of shape [B, T]; `metadata`
            with `is_last_step` joins the rows of a step-wise trajectory.
        options: of the modulation.

    Raises:
        ConfigError: the batch lacks the log-probabilities.
    """
    logprobs = data["rollout_logprobs"]
    if logprobs is None:
        raise ConfigError("EMPG needs rollout_logprobs, which this batch lacks; set generator.sampling_params.logprobs to 1")
    last = (getattr(data, "metadata", None) or {}).get("is_last_step")
    trajectory = None
    if last is not None:
        ended = torch.tensor([False, *last[:-1]])
        trajectory = ended.int().cumsum(0)
    values, stats = modulate_rows(data["advantages"], -logprobs, data["loss_mask"], options, trajectory=trajectory)
    data["advantages"] = values
    return stats


class EMPGAdvantages:
    """Mixed into SkyRL's trainer, it modulates the advantages that the trainer computed.

    Example:
        >>> class EMPGTrainer(EMPGAdvantages, RayPPOTrainer):
        ...     empg = EMPGOptions(zeta=0.05)
    """

    empg: EMPGOptions = EMPGOptions()

    def compute_advantages_and_returns(self, data: Any) -> Any:
        """Return the batch with modulated advantages."""
        batch = super().compute_advantages_and_returns(data)  # type: ignore[misc]
        self.all_metrics.update(modulate_batch(batch, self.empg))  # type: ignore[attr-defined]
        return batch
