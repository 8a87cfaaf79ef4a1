"""The policy: the scorer of a model, and how batches of rows go through it.

Entropies are computed where a pass asks for them, and have a gradient only if a loss differentiates them (an entropy bonus).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from empg_gym.trainers.data.rows import MicroBatch, TokenRow, micro_batches
from empg_gym.trainers.policy.head import Entropy
from empg_gym.trainers.policy.scorer import Scorer
from empg_gym.trainers.policy.scores import TokenScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel


class Policy:
    """A causal language model and its scorer.

    Args:
        model: any Hugging Face causal language model; its weights are the master weights.
        temperature: temperature of the sampling distribution.
        chunk: positions whose logits are in memory at the same time; None chooses by device.
        token_budget: tokens of a micro-batch in `score_rows`.
        compute_dtype: number type of the forward pass; autocast is used if it differs from that of the weights.
        recompute_layers: recompute each layer in the backward pass, to save memory.
        pack: read rows without padding if the model allows it.
        compiled: compile the forward and backward passes with `torch.compile`.

    Raises:
        ConfigError: the model's logits are not a linear layer of its last hidden state, with an optional soft cap, or it can't be compiled.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float = 1.0,
        chunk: int | None = None,
        token_budget: int = 16384,
        compute_dtype: torch.dtype | None = None,
        recompute_layers: bool = False,
        pack: bool = True,
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.token_budget = token_budget
        self.device: torch.device = next(model.parameters()).device
        self.scorer = Scorer(
            model,
            temperature=temperature,
            chunk=chunk,
            compute_dtype=compute_dtype,
            recompute_layers=recompute_layers,
            pack=pack,
            compiled=compiled,
        )

    def micro_batches(self, rows: Sequence[TokenRow], token_budget: int, chosen: Sequence[int] | None = None) -> list[MicroBatch]:
        """Group rows into micro-batches of at most `token_budget` tokens, padding included where the model pads; see `data.rows`."""
        return micro_batches(rows, token_budget, chosen, padded=not self.scorer.packs)

    def score(self, batch: MicroBatch, *, entropy: Entropy = "none") -> TokenScores:
        """Return log-probabilities, and entropies if requested, of the generated tokens of a micro-batch."""
        batch = batch.to(self.device)
        logprobs, entropies = self.scorer(batch.ids, batch.starts, batch.longest, batch.position, entropy)
        return TokenScores(logprobs, torch.full_like(logprobs, torch.nan) if entropies is None else entropies)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[TokenRow], *, entropy: Entropy = "none") -> TokenScores:
        """Return [N] log-probabilities, and entropies if requested, of all generated tokens of `rows`, on the CPU, without gradient."""
        count = sum(int(row.generated.sum()) for row in rows)
        logprobs, entropies = torch.zeros(count), torch.zeros(count)
        for batch in self.micro_batches(rows, self.token_budget):
            scores = self.score(batch, entropy=entropy)
            logprobs[batch.flat], entropies[batch.flat] = scores.logprobs.cpu(), scores.entropies.cpu()
        return TokenScores(logprobs, entropies)
