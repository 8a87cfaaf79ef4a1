"""EMPG in verl's trainer (v1): `trainer.v1.trainer_mode=empg_sync`.

verl's own step computes advantages from rewards and masks; the entropies of the old policy are in the queue beside them. This trainer runs
that step, reads both for the whole batch, and writes the modulated advantages back.
"""

from __future__ import annotations

from typing import Any

import transfer_queue
from tensordict import TensorDict
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from empg_gym.adapters.credit import EMPGOptions, options_of
from empg_gym.adapters.verl.credit import modulate_nested
from empg_gym.errors import ConfigError


@register_trainer("empg_sync")
class EMPGTrainer(PPOTrainerSync):  # type: ignore[misc]
    """`PPOTrainerSync` with EMPG's advantages.

    Options are read from `algorithm.empg`: `+algorithm.empg.zeta=0.05`.

    Raises:
        ConfigError: an option is unknown, or the configuration skips the pass that computes entropies.
    """

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        options = self._options()
        batch = super()._compute_advantage(batch, metrics)
        data = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["advantages", "entropy", "response_mask"]
        )
        values, stats = modulate_nested(data["advantages"], data["entropy"], data["response_mask"], batch.keys, options)
        metrics.update(stats)
        return transfer_queue.kv_batch_put(
            keys=batch.keys, partition_id=batch.partition_id, fields=TensorDict({"advantages": values}, batch_size=len(batch))
        )

    def _options(self) -> EMPGOptions:
        algorithm = self.config.algorithm
        if (algorithm.get("rollout_correction") or {}).get("bypass_mode"):
            raise ConfigError(
                "EMPG needs the entropies of the old policy, which algorithm.rollout_correction.bypass_mode skips; set it to False"
            )
        return options_of(dict(algorithm.get("empg") or {}))
