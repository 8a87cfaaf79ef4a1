"""The policy: log-probability and entropy of generated tokens in one forward pass.

Rules:
    - Logits are computed only at positions that predict a generated token, `chunk` positions at a time; a chunk is recomputed in the
      backward pass. The chunk size changes memory, not results.
    - Log-probabilities and entropies are those of softmax(logits / temperature) over the whole vocabulary. Softmax and sums are float32;
      the logits have the number type of the forward pass.
    - Dropout is off in every pass: the trained policy is the one that generated the episodes.
    - Entropies have a gradient only if a loss needs it (an entropy bonus); otherwise they modulate advantages or appear in metrics.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from empg_gym.errors import ConfigError
from empg_gym.trainers.data.rows import MicroBatch, TokenRow, micro_batches
from empg_gym.trainers.policy.head import capped_logits, score_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probabilities and entropies of the generated tokens of a micro-batch, or of a whole batch."""

    logprobs: Tensor
    """[n] float32, with gradient if gradients are enabled."""
    entropies: Tensor
    """[n] float32, in nats; with gradient only if requested."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the scorer of a batch reports."""


class Policy:
    """A causal language model that scores generated tokens.

    Args:
        model: any Hugging Face causal language model; its weights are the master weights.
        temperature: temperature of the sampling distribution.
        chunk: positions whose logits are in memory at the same time.
        token_budget: positions (padding included) of a micro-batch in `score_rows`.
        compute_dtype: number type of the forward pass; autocast is used if it differs from that of the weights.
        recompute_layers: recompute each layer in the backward pass, to save memory.

    Raises:
        ConfigError: the model's logits are not a linear layer of its last hidden state, with an optional soft cap.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float = 1.0,
        chunk: int = 4096,
        token_budget: int = 16384,
        compute_dtype: torch.dtype | None = None,
        recompute_layers: bool = False,
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.chunk = chunk
        self.token_budget = token_budget
        self.device: torch.device = next(model.parameters()).device
        self.compute_dtype = compute_dtype or next(model.parameters()).dtype
        self._decoder: nn.Module = model.get_decoder()
        self._head: Any = model.get_output_embeddings()
        self._cap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self._recomputed: list[nn.Module] = []
        if recompute_layers:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
            for layer in layers:
                layer._gradient_checkpointing_func = _in_evaluation_mode(layer, layer._gradient_checkpointing_func)
            self._recomputed = layers
        model.eval()
        self._check_head()

    def score(self, batch: MicroBatch, *, entropy_gradient: bool = False) -> TokenScores:
        """Return log-probabilities and entropies of the generated tokens of a micro-batch.

        Args:
            batch: the micro-batch.
            entropy_gradient: whether the entropies have a gradient, for an entropy bonus.
        """
        batch = batch.to(self.device)
        self.model.eval()
        for layer in self._recomputed:  # only layers in training mode are recomputed; `_in_evaluation_mode` switches it off inside
            layer.training = torch.is_grad_enabled()
        with self._precision():
            hidden = self._decoder(input_ids=batch.ids, use_cache=False).last_hidden_state
        hidden_n = hidden[batch.row, batch.position - 1].to(self.compute_dtype)
        targets = batch.ids[batch.row, batch.position]
        logprobs, entropies = score_tokens(
            self._head,
            hidden_n,
            targets,
            temperature=self.temperature,
            cap=self._cap,
            chunk=self.chunk,
            entropy_gradient=entropy_gradient,
        )
        return TokenScores(logprobs, entropies)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[TokenRow]) -> TokenScores:
        """Return [N] log-probabilities and entropies of all generated tokens of `rows`, on the CPU, without gradient."""
        count = sum(int(row.generated.sum()) for row in rows)
        logprobs, entropies = torch.zeros(count), torch.zeros(count)
        for batch in micro_batches(rows, self.token_budget):
            scores = self.score(batch)
            logprobs[batch.flat], entropies[batch.flat] = scores.logprobs.cpu(), scores.entropies.cpu()
        return TokenScores(logprobs, entropies)

    def _precision(self) -> AbstractContextManager[object]:
        if self.compute_dtype is next(self.model.parameters()).dtype:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)

    @torch.no_grad()
    def _check_head(self) -> None:
        ids = torch.arange(4, device=self.device)[None]
        whole = self.model(input_ids=ids, use_cache=False).logits.float()
        ours: Tensor | None = None
        if isinstance(self._head, nn.Linear):
            hidden = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
            ours = capped_logits(hidden, self._head.weight, self._head.bias, cap=self._cap)
        if ours is None or not torch.allclose(whole, ours, atol=1e-2, rtol=1e-2):
            raise ConfigError(
                f"models of type {self.model.config.model_type!r} scale or shift their logits in an unsupported way; "
                "train a model whose logits are a linear layer of its last hidden state (Qwen, Llama, Mistral, Gemma, …)"
            )


def _in_evaluation_mode(layer: nn.Module, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the checkpointing function `run` with the layer in evaluation mode inside, in both passes."""

    def checkpointed(forward: Callable[..., Any], *args: Any) -> Any:
        def quiet(*args: Any) -> Any:
            layer.training = False
            return forward(*args)

        return run(quiet, *args)

    return checkpointed
