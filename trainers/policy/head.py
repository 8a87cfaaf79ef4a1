"""Log-probabilities and entropies of chosen tokens from hidden states, without keeping logits.

    z = cap(h W^T + b) / T        log p(a) = z_a - log sum exp z        H = -sum p log p

Rules:
    - Logits exist for `chunk` positions at a time, in float32. The forward pass keeps one number per position, the normaliser; the backward
      pass computes the logits again and turns them into the gradient in place.
    - The entropy is computed where it is asked for, and differentiated where the loss asks for that: dH/dz = -p (log p + H).
    - Weights of another number type than the hidden states' (float32 under a bfloat16 forward pass) are cast for the matrix products; their
      gradient is accumulated in float32.
    - The chunk size changes memory, not results.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Entropy = Literal["none", "values", "gradient"]
"""Whether a pass computes entropies, and whether they have a gradient."""

LOGITS_IN_MEMORY = 2**27
"""Number of logits in memory at the same time by default: 512 MB, 883 positions of a vocabulary of 151,936."""


def default_chunk(vocabulary: int) -> int:
    """Return the number of positions whose logits are in memory at the same time unless a caller says otherwise."""
    return max(1, LOGITS_IN_MEMORY // vocabulary)


def score_tokens(
    head: nn.Linear,
    hidden: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    cap: float | None = None,
    chunk: int | None = None,
    entropy: Entropy = "none",
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities and entropies under softmax(logits / temperature).

    Args:
        head: the output layer, weight [V, D].
        hidden: [n, D] hidden states of the positions that predict the tokens, in the number type of the forward pass.
        targets: [n] int64 ids of the tokens.
        temperature: of the sampling distribution.
        cap: soft cap of the logits, cap * tanh(logits / cap); None applies none.
        chunk: positions whose logits are in memory at the same time; None uses `default_chunk`.
        entropy: whether to compute the entropies, with or without their gradient.

    Returns:
        ([n] float32 log-probabilities, [n] float32 entropies in nats or None).
    """
    scored: tuple[Tensor, Tensor | None] = _ScoreTokens.apply(
        hidden, head.weight, head.bias, targets, temperature, cap, chunk or default_chunk(len(head.weight)), entropy
    )
    return scored


class _ScoreTokens(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        cap: float | None,
        chunk: int,
        entropy: Entropy,
    ) -> tuple[Tensor, Tensor | None]:
        count = len(targets)
        layer = _as(weight, hidden), _as(bias, hidden)
        logprobs, normaliser = (torch.empty(count, dtype=torch.float32, device=hidden.device) for _ in range(2))
        entropies = None if entropy == "none" else torch.empty_like(logprobs)
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            z = _logits(hidden[part], *layer, temperature, cap)
            at_target = z.gather(-1, targets[part, None]).squeeze(-1)
            if entropies is None:
                normaliser[part] = _logsumexp_(z)
            else:  # from log p: the difference of log sum exp z and sum p z would lose the digits of a common offset of the logits
                normaliser[part] = z.logsumexp(dim=-1)
                logp = z.sub_(normaliser[part, None])
                entropies[part] = -torch.exp(logp).mul_(logp).sum(dim=-1)
            logprobs[part] = at_target - normaliser[part]
        ctx.save_for_backward(hidden, weight, bias, targets, normaliser, entropies)
        ctx.settings = temperature, cap, chunk
        ctx.entropy_gradient = entropy == "gradient"
        if entropies is not None and not ctx.entropy_gradient:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normaliser, entropies = ctx.saved_tensors
        temperature, cap, chunk = ctx.settings
        layer = _as(weight, hidden), _as(bias, hidden)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wants_weight else None
        d_bias = torch.zeros(len(weight), dtype=torch.float32, device=weight.device) if wants_bias else None
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            z = _logits(hidden[part], *layer, temperature, cap)
            slope = None if cap is None else 1 - (z * (temperature / cap)) ** 2
            logp = z.sub_(normaliser[part, None])
            outer = gradients[0][part, None]
            if ctx.entropy_gradient:
                factor = outer + gradients[1][part, None] * (logp + entropies[part, None])
                d_logits = logp.exp_().mul_(factor).neg_()
            else:
                d_logits = logp.exp_().mul_(-outer)
            d_logits.scatter_add_(-1, targets[part, None], outer)
            if temperature != 1.0:
                d_logits.div_(temperature)
            if slope is not None:
                d_logits.mul_(slope)
            small = d_logits.to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(small, layer[0], out=d_hidden[part])
            if d_weight is not None:
                _add_product_(d_weight, small.T, hidden[part])
            if d_bias is not None:
                d_bias += d_logits.sum(dim=0)
        return (
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None or bias is None else d_bias.to(bias.dtype),
            *(None,) * 5,
        )


def _logsumexp_(z: Tensor) -> Tensor:
    """Return [c] log sum exp of [c, V] logits, which it overwrites."""
    largest = z.amax(dim=-1, keepdim=True)
    return z.sub_(largest).exp_().sum(dim=-1).log_().add_(largest.squeeze(-1))


def _add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product to a float32 sum."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _as(parameter: Any, hidden: Tensor) -> Any:
    """Return a parameter in the number type of the hidden states, in which the matrix products run in both passes; None stays None."""
    return parameter if parameter is None or parameter.dtype == hidden.dtype else parameter.to(hidden.dtype)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, cap: float | None) -> Tensor:
    """Return [c, V] capped logits over the temperature, float32."""
    logits = capped_logits(hidden, weight, bias, cap=cap)
    return logits.div_(temperature) if temperature != 1.0 else logits


def capped_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, cap: float | None) -> Tensor:
    """Return [..., V] float32 logits of a linear output layer with a soft cap."""
    logits = nn.functional.linear(hidden, weight, bias).float()
    return logits if cap is None else torch.tanh(logits.div_(cap)).mul_(cap)
