"""EMPG in TRL's `GRPOTrainer`: the advantages of each step modulated by its entropy.

Where TRL lets a subclass in: `_generate_and_score_completions` returns the generation batch of this process with one advantage per row, and
the loss accepts one per token. Modulating there sees the whole generation batch; the loss would see a micro-batch. The steps of all
processes are exchanged first, as EMPG normalizes over the batch. The price is one more forward pass, as TRL does not keep entropies.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from empg_gym.adapters.credit import EMPGOptions, Table, modulate_rows, options_of
from empg_gym.errors import ConfigError

_ONE_PER_ROW = ("vespo", "luspo")
"""Losses that need one advantage per row."""


class EMPGTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` with EMPG's advantages.

    A step is a run of generated tokens between the answers of tools. Evaluations use the base advantages, as they don't train.

    Args:
        empg: options of the modulation, as `EMPGOptions` or a mapping; None uses the paper's.
        arguments, named: those of `GRPOTrainer`.

    Raises:
        ConfigError: an option is unknown, or the loss needs one advantage per row.

    Example:
        >>> trainer = EMPGTrainer(model, args=config, train_dataset=rows, environment_factory=ALFWorldTools, empg={"zeta": 0.05})
    """

    def __init__(self, *arguments: Any, empg: EMPGOptions | dict[str, Any] | None = None, **named: Any) -> None:
        self.empg = options_of(empg)
        super().__init__(*arguments, **named)
        loss, threshold = self.args.loss_type, getattr(self.args, "off_policy_mask_threshold", None)
        if loss in _ONE_PER_ROW or threshold is not None:
            what = f"loss_type={loss!r}" if loss in _ONE_PER_ROW else "off_policy_mask_threshold"
            raise ConfigError(f'EMPG gives each step its own advantage, and {what} needs one per row; use loss_type="dapo" without a mask')

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        mask = output["completion_mask"]
        if "tool_mask" in output:
            mask = mask * output["tool_mask"]
        values, stats = modulate_rows(
            output["advantages"], self._entropies(output), mask, self.empg, gather=_gather, process=self.accelerator.process_index
        )
        output["advantages"] = values
        for name, value in stats.items():
            self._metrics["train"][name].append(value)
        return output

    @torch.no_grad()
    def _entropies(self, output: dict[str, Any]) -> torch.Tensor:
        """Return [B, T] entropies of the policy's distributions, at the sampling temperature."""
        entropies: torch.Tensor
        _, entropies, _ = self._get_per_token_logps_and_entropies(
            self.model,
            torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1),
            torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1),
            output["completion_ids"].size(1),
            batch_size=self.args.per_device_train_batch_size,
            compute_entropy=True,
        )
        return entropies


def _gather(table: Table) -> list[Table]:
    """Return the tables of all processes, in their order."""
    tables: list[Table] = gather_object([table])
    return tables
