"""Log-probabilities and entropies of chosen tokens from hidden states, without keeping logits.

    z = cap(h W^T + b) / T        log p(a) = z_a - log sum exp z        H = -sum p log p

Rules:
    - Logits exist for a block of positions and words at a time, in float32. The forward pass keeps one number per position, the normaliser;
      the backward pass computes the logits again and turns them into the gradient in place.
    - With a frozen output layer (LoRA) nothing is computed twice: the forward pass also sums d log p / d h, block by block.
    - The entropy is computed where it is asked for, and differentiated where the loss asks for that: dH/dz = -p (log p + H).
    - Weights of another number type than the hidden states' (float32 under a bfloat16 forward pass) are cast for the matrix products, whose
      sums are float32.
    - The size of a block changes memory and time, not results.

Every position sees all blocks of words; their maxima m_b, sums s_b = sum exp(z - m_b) and u_b = sum exp(z - m_b) (z - m_b) give

    L = log sum exp z = max m_b + log sum s_b exp(m_b - max m_b)        H = -sum exp(m_b - L) (u_b + s_b (m_b - L))

which keeps the digits that the difference of L and sum p z would lose to a common offset of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Entropy = Literal["none", "values", "gradient"]
"""Whether a pass computes entropies, and whether they have a gradient."""

CPU_POSITIONS, CPU_WORDS = 512, 1024
"""The block on a CPU: its logits stay in the cache of the core."""
GPU_POSITIONS, GPU_WORDS = 8192, 16384
"""The block elsewhere: 512 MB of logits. With many positions, the gradient of each weight is written once."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
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
        chunk: positions whose logits are in memory at the same time; None chooses by device.
        entropy: whether to compute the entropies, with or without their gradient.

    Returns:
        ([n] float32 log-probabilities, [n] float32 entropies in nats or None).
    """
    settings = temperature, cap, *block_size(len(head.weight), hidden.device, chunk)
    scored: tuple[Tensor, Tensor | None] = _ScoreTokens.apply(hidden, head.weight, head.bias, targets, settings, entropy)
    return scored


def block_size(vocabulary: int, device: torch.device, chunk: int | None) -> tuple[int, int]:
    """Return the number of positions and of words of a block."""
    positions, words = (CPU_POSITIONS, CPU_WORDS) if device.type == "cpu" else (GPU_POSITIONS, GPU_WORDS)
    return chunk or positions, min(vocabulary, words)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The output layer and how its logits are computed."""

    weight: Tensor
    bias: Tensor | None
    temperature: float
    cap: float | None
    positions: int
    """Of a block."""
    words: int
    """Of a block."""

    def parts(self, count: int) -> Iterator[slice]:
        """Yield the positions of each block."""
        return (slice(start, min(count, start + self.positions)) for start in range(0, count, self.positions))

    def word_parts(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Yield the words of each block and their weights."""
        for start in range(0, len(self.weight), self.words):
            words = slice(start, min(len(self.weight), start + self.words))
            yield words, self.weight[words].to(dtype)

    def buffer(self, hidden: Tensor) -> Tensor:
        """Return memory for the logits of a block."""
        return torch.empty(min(self.positions, len(hidden)) * self.words, dtype=torch.float32, device=hidden.device)

    def logits(self, hidden: Tensor, weight: Tensor, words: slice, buffer: Tensor) -> Tensor:
        """Return [c, w] float32 logits over the temperature, in the buffer."""
        z = buffer[: len(hidden) * len(weight)].view(len(hidden), len(weight))
        _product(hidden, weight.T, z)
        if self.bias is not None:
            z.add_(self.bias[words])
        if self.cap is not None:
            z.div_(self.cap).tanh_().mul_(self.cap)
        return z.div_(self.temperature) if self.temperature != 1.0 else z

    def chain_(self, d_logits: Tensor, z: Tensor | None) -> Tensor:
        """Multiply the gradient of [c, w] logits z by the derivative of temperature and cap."""
        if z is not None and self.cap is not None:
            d_logits.mul_(1 - (z * (self.temperature / self.cap)) ** 2)
        return d_logits.div_(self.temperature) if self.temperature != 1.0 else d_logits


class _ScoreTokens(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, settings: Any, entropy: Entropy
    ) -> tuple[Tensor, Tensor | None]:
        layer = _Layer(weight, bias, *settings)
        logprobs, normaliser = (torch.empty(len(targets), dtype=torch.float32, device=hidden.device) for _ in range(2))
        entropies = None if entropy == "none" else torch.empty_like(logprobs)
        ctx.slope = None
        frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        if ctx.needs_input_grad[0] and frozen and entropy != "gradient" and layer.cap is None:
            ctx.slope = torch.empty_like(hidden)
        buffer = layer.buffer(hidden)
        for part in layer.parts(len(targets)):
            sums = _Sums(hidden[part], targets[part], entropy != "none", ctx.slope is not None)
            for words, weights in layer.word_parts(hidden.dtype):
                sums.add(layer.logits(hidden[part], weights, words, buffer), words, weights)
            logprobs[part], normaliser[part] = sums.logprobs()
            if entropies is not None:
                entropies[part] = sums.entropies(normaliser[part])
            if ctx.slope is not None:
                expected = sums.expected_weights(normaliser[part])
                ctx.slope[part] = (weight[targets[part]].to(hidden.dtype) - expected) / layer.temperature
        ctx.save_for_backward(hidden, weight, bias, targets, normaliser, entropies)
        ctx.settings, ctx.entropy_gradient = settings, entropy == "gradient"
        if entropies is not None and not ctx.entropy_gradient:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normaliser, entropies = ctx.saved_tensors
        layer = _Layer(weight, bias, *ctx.settings)
        if ctx.slope is not None:
            return (ctx.slope * gradients[0][:, None]).to(hidden.dtype), *(None,) * 5
        shapes = hidden.shape, weight.shape, weight.shape[:1]
        d_hidden, d_weight, d_bias = (
            torch.zeros(shape, dtype=torch.float32, device=hidden.device) if wanted else None
            for shape, wanted in zip(shapes, ctx.needs_input_grad[:3], strict=True)
        )
        buffer = layer.buffer(hidden)
        for part in layer.parts(len(targets)):
            outer = gradients[0][part, None]
            for words, weights in layer.word_parts(hidden.dtype):
                z = layer.logits(hidden[part], weights, words, buffer)
                scaled = z.clone() if layer.cap is not None else None
                logp = z.sub_(normaliser[part, None])
                if ctx.entropy_gradient:
                    factor = outer + gradients[1][part, None] * (logp + entropies[part, None])
                    d_logits = logp.exp_().mul_(factor).neg_()
                else:
                    d_logits = logp.exp_().mul_(-outer)
                index, inside = _within(targets[part], words)
                place = torch.arange(len(index), device=index.device)[:, None] * len(weights) + index
                d_logits.view(-1).index_add_(0, place.view(-1), (outer * inside).view(-1))
                small = layer.chain_(d_logits, scaled).to(hidden.dtype)
                if d_hidden is not None:
                    _add_product(d_hidden[part], small, weights)
                if d_weight is not None:
                    _add_product(d_weight[words], small.T, hidden[part])
                if d_bias is not None:
                    d_bias[words] += d_logits.sum(dim=0)
        return (
            None if d_hidden is None else d_hidden.to(hidden.dtype),
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None or bias is None else d_bias.to(bias.dtype),
            *(None,) * 3,
        )


class _Sums:
    """Sums over the words of c positions, block by block."""

    def __init__(self, hidden: Tensor, targets: Tensor, entropy: bool, slope: bool) -> None:
        self.targets = targets
        self.entropy = entropy
        self.at_target = torch.zeros(len(hidden), dtype=torch.float32, device=hidden.device)
        self.largest: list[Tensor] = []
        self.totals: list[Tensor] = []
        self.moments: list[Tensor] = []
        self.weighted = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device) if slope else None
        self.scale = torch.full_like(self.at_target, -torch.inf)

    def add(self, z: Tensor, words: slice, weights: Tensor) -> None:
        """Add a block of [c, w] logits, which is overwritten."""
        index, inside = _within(self.targets, words)
        self.at_target += torch.where(inside, z.gather(-1, index), 0.0).squeeze(-1)
        largest = z.amax(dim=-1)
        z.sub_(largest[:, None])
        p = torch.exp(z) if self.entropy else z.exp_()
        self.largest.append(largest)
        self.totals.append(p.sum(dim=-1))
        if self.weighted is not None:  # as in flash attention: relative to the largest logit so far
            scale = torch.maximum(self.scale, largest)
            self.weighted.mul_(torch.exp(self.scale - scale)[:, None])
            share = torch.exp(largest - scale)[:, None]
            _add_product(self.weighted, (p * share).to(weights.dtype), weights)
            self.scale = scale
        if self.entropy:
            self.moments.append(p.mul_(z).sum(dim=-1))

    def logprobs(self) -> tuple[Tensor, Tensor]:
        """Return [c] log-probabilities of the targets and [c] normalisers."""
        largest, totals = torch.stack(self.largest), torch.stack(self.totals)
        most = largest.amax(dim=0)
        normaliser = most + (totals * torch.exp(largest - most)).sum(dim=0).log()
        return self.at_target - normaliser, normaliser

    def entropies(self, normaliser: Tensor) -> Tensor:
        """Return [c] entropies."""
        offset = torch.stack(self.largest) - normaliser
        return -(torch.exp(offset) * (torch.stack(self.moments) + torch.stack(self.totals) * offset)).sum(dim=0)

    def expected_weights(self, normaliser: Tensor) -> Tensor:
        """Return [c, D] sums of p W."""
        assert self.weighted is not None
        return self.weighted * torch.exp(self.scale - normaliser)[:, None]


def _within(targets: Tensor, words: slice) -> tuple[Tensor, Tensor]:
    """Return [c, 1] columns of the targets in a block of words, and whether they are in it."""
    column = targets[:, None] - words.start
    return column.clamp(0, words.stop - words.start - 1), (column >= 0) & (column < words.stop - words.start)


def _product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write a matrix product with a float32 sum to `out`."""
    if left.dtype == torch.float32:
        torch.mm(left, right, out=out)
    elif left.is_cuda:
        torch.mm(left, right, out_dtype=torch.float32, out=out)
    else:
        torch.mm(left.float(), right.float(), out=out)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product to a float32 sum."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    elif left.is_cuda:
        total += torch.mm(left, right, out_dtype=torch.float32)
    else:
        total.addmm_(left.float(), right.float())


def capped_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, cap: float | None) -> Tensor:
    """Return [..., V] float32 logits of a linear output layer with a soft cap."""
    logits = nn.functional.linear(hidden, weight, bias).float()
    return logits if cap is None else torch.tanh(logits.div_(cap)).mul_(cap)
