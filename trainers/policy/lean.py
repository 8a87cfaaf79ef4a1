"""`LeanDecoder` with gradients: the decoder of Llama-type models over packed rows, for small models on the CPU.

The modules of transformers cost as much as the arithmetic of a small model. This pass

    - uses the weights of the model's own modules (it copies none), and gives them their gradients;
    - computes the last layer, except its keys and values, only for the tokens whose hidden states are wanted, unless nearly all are;
    - computes the tokens with which several rows begin once;
    - saves less for the backward pass: norms and rotations have their own gradients.

It equals the modules up to the order of float sums. It is used where that is known: see `empg_gym.trainers.generate.lean.suits`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from empg_gym.trainers.generate.lean import children_of, is_plain, normed, rotated, suits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LeanHidden:
    """The last hidden states of one model. It reads the model's weights in every call.

    Args:
        model: see `of`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        self.model: Any = model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.features: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._children = children_of(model)

    @classmethod
    def of(cls, model: PreTrainedModel) -> LeanHidden | None:
        """Return the lean pass of a model, or None where its modules must run."""
        return cls(model) if suits(model) else None

    def usable(self) -> bool:
        """Return whether the modules are still those that `of` saw: no adapter has replaced a layer, and no hook waits for a call."""
        return is_plain(self._children)

    def __call__(self, ids: Tensor, lengths: list[int], column: Tensor, wanted: Tensor) -> Tensor:
        """Return [n, D] last hidden states.

        Args:
            ids: [T] int64 tokens of the rows, one row after the other.
            lengths: of the rows.
            column: [T] position of each token in its row.
            wanted: [n] increasing indices into T.
        """
        decoder = self.model.get_decoder()
        rows = _Rows.of(ids, lengths, column)
        phases = torch.stack(decoder.rotary_emb(torch.zeros(1), rows.column[None]), dim=2)[0]
        h = embedding(ids[rows.own], decoder.embed_tokens.weight)
        for layer in decoder.layers[:-1]:
            h = self._layer(layer, h, phases, rows)
        places = rows.place[wanted]
        chosen, back = places.unique(return_inverse=True)
        if 10 * len(chosen) <= 9 * len(rows.own):
            h, places = self._layer(decoder.layers[-1], h, phases, rows, chosen), back
        else:  # attention of all tokens needs no mask
            h = self._layer(decoder.layers[-1], h, phases, rows)
        result: Tensor = _Norm.apply(h.index_select(0, places), *_norm(decoder.norm))
        return result

    def _layer(self, layer: Any, h: Tensor, phases: Tensor, rows: _Rows, wanted: Tensor | None = None) -> Tensor:
        """Return the hidden states after a layer: all U, or the `wanted` ones."""
        attention = layer.self_attn
        x = _Norm.apply(h, *_norm(layer.input_layernorm))
        keys = self._rotated(_linear(attention.k_proj, x), phases)
        values = _linear(attention.v_proj, x).view(-1, self.kv_heads, self.features)
        if len(rows.own) < len(rows.place):
            keys, values = keys.index_select(0, rows.place), values.index_select(0, rows.place)
        owner, column = rows.owner, rows.column
        if wanted is not None:
            h, x, phases, owner, column = h[wanted], x[wanted], phases[wanted], owner[wanted], column[wanted]
        queries = self._rotated(_linear(attention.q_proj, x), phases)
        counts = torch.bincount(owner, minlength=len(rows.lengths)).tolist()
        attended = _attend(queries, keys, values, rows.lengths, attention.scaling, counts, column)
        h = h + _linear(attention.o_proj, attended)
        x = _Norm.apply(h, *_norm(layer.post_attention_layernorm))
        return h + _linear(layer.mlp.down_proj, silu(_linear(layer.mlp.gate_proj, x)) * _linear(layer.mlp.up_proj, x))

    def _rotated(self, x: Tensor, phases: Tensor) -> Tensor:
        result: Tensor = _Rotate.apply(x.view(len(x), -1, self.features), phases)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of a pass. Of rows that begin alike, as the episodes of a task do, the common tokens are computed once."""

    lengths: list[int]
    own: Tensor
    """[U] index into T of the tokens that are computed: the last ones of each row."""
    place: Tensor
    """[T] index into U of each token."""
    owner: Tensor
    """[U] row of each computed token."""
    column: Tensor
    """[U] its position in the row."""

    @classmethod
    def of(cls, ids: Tensor, lengths: list[int], column: Tensor) -> _Rows:
        """Compare rows with their neighbours in alphabetical order: no other row begins with more of the same tokens."""
        rows = [row.tolist() for row in ids.split(lengths)]
        starts = [0, *itertools.accumulate(lengths)]
        first = np.arange(len(ids))
        for before, row in itertools.pairwise(sorted(range(len(rows)), key=rows.__getitem__)):
            pairs = zip(rows[before], rows[row], strict=False)
            common = next((index for index, (one, other) in enumerate(pairs) if one != other), min(lengths[before], lengths[row]))
            first[starts[row] : starts[row] + common] = first[starts[before] : starts[before] + common]
        is_own = first == np.arange(len(ids))
        own = torch.from_numpy(np.flatnonzero(is_own))
        place = torch.from_numpy((np.cumsum(is_own) - 1)[first])
        owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[own]
        return cls(lengths=lengths, own=own, place=place, owner=owner, column=column[own])


class _Norm(torch.autograd.Function):
    """The root-mean-square norm of [T, D]: y = w n, n = x / r, r^2 = mean x^2 + eps; dx = (w g - n mean(w g n)) / r."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, scale = normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        n = x * scale
        slope = n * gradients[0]
        share = slope.mv(weight).div_(x.shape[1])
        d_x = (gradients[0] * weight).sub_(n.mul_(share[:, None])).mul_(scale)
        return d_x, slope.sum(0), None


class _Rotate(torch.autograd.Function):
    """Rotary positions of [T, heads, features]; the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, phases: Tensor) -> Tensor:
        ctx.save_for_backward(phases)
        return rotated(x, phases)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (phases,) = ctx.saved_tensors
        return rotated(gradients[0], phases, back=True), None


def _attend(queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int], scale: float, counts: list[int], column: Tensor) -> Tensor:
    """Return [n, heads * features] the attention of queries to the tokens of their row up to their own, row by row.

    Args:
        queries: [n, heads, features].
        keys: [T, kv_heads, features].
        values: [T, kv_heads, features].
        lengths: of the rows.
        scale: of the products.
        counts: queries of each row.
        column: [n] their positions in the row.
    """
    grouped = queries.shape[1] != keys.shape[1]
    split = [item.transpose(0, 1)[None].split(lengths, dim=2) for item in (keys, values)]
    asking = queries.transpose(0, 1)[None].split(counts, dim=2)
    place = torch.arange(max(lengths))
    rows = []
    for query, key, value, columns in zip(asking, *split, column.split(counts), strict=True):
        if query.shape[2]:
            whole = query.shape[2] == key.shape[2]
            mask = None if whole else place[: key.shape[2]] <= columns[:, None]
            rows.append(scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=whole, scale=scale, enable_gqa=grouped))
    return torch.cat(rows, dim=2)[0].transpose(0, 1).reshape(len(queries), -1)


def _linear(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def _norm(norm: Any) -> tuple[Tensor, float]:
    return norm.weight, norm.variance_epsilon
