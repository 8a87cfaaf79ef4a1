"""`LeanDecoder`: the forward pass of Llama-type models over packed rows, for small models on the CPU.

The modules of transformers cost more than the arithmetic of a small model, and a rectangle of rows is mostly padding. This pass

    - computes the new tokens of all rows without padding, with the weights of the model's own modules (it copies none);
    - computes the last layer, except its keys and values, only for the tokens after which logits are wanted;
    - attends to the blocks of the cache where they are, and only to as many as a row has; the sums have the order of the row's tokens,
      wherever its blocks are.

It equals the modules up to the order of float sums. It is used where that is known: see `suits` and `LeanDecoder.usable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from empg_gym.trainers.generate.cache import BLOCK, PagedCache, PagedLayer
from empg_gym.trainers.generate.token_pass import Pass, places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TYPES = ("LlamaForCausalLM", "Qwen2ForCausalLM")
_PARAMETERS = 50_000_000
"""Size above which the arithmetic dominates."""
_QUERIES = 256
"""Queries of a row that attend at once."""
_VIEW_SHARE = 0.5
"""Share of the cache's blocks above which attention in blocks runs over all of them instead of copying its own."""
_MASKED = -1e30
_LEAST = -60.0
"""Exponent below which a weight does not change a sum. Numbers that underflow cost dozens of times more, in exp and in products."""


def suits(model: PreTrainedModel) -> bool:
    """Return whether a lean pass can replace the model's modules: a known type, with plain layers, small, in float32 on the CPU."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model).__module__.startswith("transformers.")
        and type(model).__name__ in _TYPES
        and all(type(module) is Linear for name, module in model.named_modules() if name.endswith(("_proj", "lm_head")))
        and model.device.type == "cpu"
        and all(parameter.dtype == torch.float32 for parameter in model.parameters())
        and sum(parameter.numel() for parameter in model.parameters()) <= _PARAMETERS
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") == "default"
    )


def has_only(model: Any, modules: int) -> bool:
    """Return whether the model still has as many modules, and no hook waits for a call of one."""
    found = list(model.modules())
    return len(found) == modules and not any(module._forward_hooks or module._forward_pre_hooks for module in found)


class LeanDecoder:
    """The forward pass of one model. It reads the model's weights in every call.

    Args:
        model: see `of`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        self.model: Any = model
        self.decoder: Any = model.model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.features: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._phases = torch.empty(0, 2, self.features)
        self._modules = len(list(model.modules()))

    @classmethod
    def of(cls, model: PreTrainedModel) -> LeanDecoder | None:
        """Return the lean pass of a model, or None where its modules must run."""
        return cls(model) if suits(model) else None

    def usable(self) -> bool:
        """Return whether the modules are still those that `of` saw: no adapter has replaced a layer, and no hook waits for a call."""
        return has_only(self.model, self._modules)

    def __call__(self, batch: Pass, cache: PagedCache) -> Tensor:
        """Run a pass and return [T', V] the wanted logits."""
        rows = np.repeat(np.arange(len(batch.counts)), batch.counts)
        ends = np.cumsum(batch.counts)
        positions = np.arange(len(rows)) - (ends - batch.counts)[rows] + batch.starts[rows]
        blocks = torch.from_numpy(batch.table[rows, positions // BLOCK])
        cache.placement.place(blocks, torch.from_numpy(positions % BLOCK), torch.from_numpy(np.ascontiguousarray(batch.table)))
        wanted = None if len(rows) == batch.wanted.sum() else torch.from_numpy(places(ends - batch.wanted, batch.wanted))
        phases = self._phases_at(positions, int((batch.starts + batch.counts).max()))
        in_blocks = _BlockAttention(batch)
        layers = self.decoder.layers
        h = embedding(torch.from_numpy(batch.tokens), self.decoder.embed_tokens.weight)
        for layer, store in zip(layers, cache.paged, strict=True):
            attention = layer.self_attn
            x = _normed(layer.input_layernorm, h)
            keys = rotated(_linear(attention.k_proj, x).view(-1, self.kv_heads, self.features), phases)
            store.write(keys, _linear(attention.v_proj, x).view(-1, self.kv_heads, self.features))
            if wanted is not None and layer is layers[-1]:
                h, x, phases, wanted = h[wanted], x[wanted], phases[wanted], None
            queries = rotated(_linear(attention.q_proj, x).view(-1, self.heads, self.features), phases)
            attend = in_blocks if wanted is None else self._read
            attended = attend(queries, store, batch, attention.scaling)
            h = h + _linear(attention.o_proj, attended.reshape(len(h), -1))
            x = _normed(layer.post_attention_layernorm, h)
            h = h + _linear(layer.mlp.down_proj, silu(_linear(layer.mlp.gate_proj, x)).mul_(_linear(layer.mlp.up_proj, x)))
        return _linear(self.model.lm_head, _normed(self.decoder.norm, h))

    def _phases_at(self, positions: np.ndarray[Any, Any], count: int) -> Tensor:
        """Return [T, 2, features] the cosines and sines of positions, all below `count`."""
        if count > len(self._phases):
            some = torch.arange(max(count, 2 * len(self._phases)))
            self._phases = torch.stack(self.decoder.rotary_emb(torch.zeros(1), some[None]), dim=2)[0]
        return self._phases[torch.from_numpy(positions)]

    def _read(self, queries: Tensor, store: PagedLayer, batch: Pass, scale: float) -> Tensor:
        """Return [T, heads, features] the attention of all new tokens, row by row."""
        out = torch.empty_like(queries)
        begin = 0
        sources = store.placement.sources(self.kv_heads).view(len(batch.counts), self.kv_heads, -1)
        widths = -(-(batch.starts + batch.counts) // BLOCK)
        masks = _triangle(min(_QUERIES, int(batch.counts.max())), int((batch.starts + batch.counts).max()))
        shape = (1, self.kv_heads, -1, self.features)
        pools = [pool.view(-1, BLOCK * self.features) for pool in (store.keys, store.values)]
        for row, (start, count, width) in enumerate(zip(batch.starts.tolist(), batch.counts.tolist(), widths.tolist(), strict=True)):
            own = sources[row, :, :width].reshape(-1)
            keys, values = (pool.index_select(0, own).view(shape) for pool in pools)
            for first in range(0, count, _QUERIES):
                some = slice(begin + first, begin + min(first + _QUERIES, count))
                number, span = some.stop - some.start, start + some.stop - begin
                found = scaled_dot_product_attention(
                    queries[some].transpose(0, 1)[None],
                    keys[:, :, :span],
                    values[:, :, :span],
                    attn_mask=masks[len(masks) - number :, masks.shape[1] - span :],
                    scale=scale,
                    enable_gqa=self.heads > self.kv_heads,
                )
                out[some] = found[0].transpose(0, 1)
            begin += count
        return out


class _BlockAttention:
    """Attention of the wanted tokens of a pass, a few per row, to all tokens of their row, block by block.

    Args:
        batch: the pass.
    """

    def __init__(self, batch: Pass) -> None:
        lengths = batch.starts + batch.counts
        self.rows, self.width = batch.table.shape
        self.queries = queries = int(batch.wanted.max())
        inside = np.arange(self.width) * BLOCK < lengths[:, None]
        owned, rank = batch.table[inside], np.flatnonzero(inside.ravel())
        row = rank // self.width
        extent = int(owned.max()) + 1
        self.blocks: slice | Tensor
        if len(owned) >= _VIEW_SHARE * extent:
            self.blocks, place = slice(0, extent), owned
            owner, back = np.zeros(extent, np.int64), np.zeros(extent, np.int64)
            owner[owned], back[owned] = row, rank
        else:
            self.blocks, place = torch.from_numpy(owned), np.arange(len(owned))
            owner, back = row, rank
        at = np.zeros(inside.size, np.int64)
        at[rank] = place
        # at: of each place of the table, back: of each block; what they say about places without a block, and blocks of others, is dropped.
        self.at, self.back, self.owner, self.place, self.row = (torch.from_numpy(array) for array in (at, back, owner, place, row))
        used = batch.wanted
        offsets = np.minimum(np.arange(queries), used[:, None] - 1)
        self.padded = torch.from_numpy(((np.cumsum(used) - used)[:, None] + offsets).ravel()) if queries > 1 else None
        self.real = torch.from_numpy(np.flatnonzero(np.arange(queries) < used[:, None]))
        hidden = np.arange(self.width * BLOCK) > ((lengths - used)[:, None] + offsets)[..., None]
        bias = torch.from_numpy(np.where(hidden, np.float32(_MASKED), np.float32(0))).view(self.rows, queries, self.width, BLOCK)
        self.bias = bias.transpose(1, 2)[:, :, None, None]

    def __call__(self, queries: Tensor, store: PagedLayer, batch: Pass, scale: float) -> Tensor:
        """Return [T, heads, features] for queries of the same shape."""
        blocks, rows, width = self.blocks, self.rows, self.width
        keys, values = (pool[blocks] if isinstance(blocks, slice) else pool.index_select(0, blocks) for pool in (store.keys, store.values))
        _, kv_heads, _, features = keys.shape
        grouped = queries * scale if self.padded is None else (queries * scale).index_select(0, self.padded)
        grouped = grouped.view(rows, self.queries, kv_heads, -1, features).permute(0, 2, 3, 1, 4).reshape(rows, kv_heads, -1, features)
        scores = grouped.index_select(0, self.owner).matmul(keys.transpose(2, 3))
        shape = scores.shape[1:]
        weights = scores.index_select(0, self.at).view(rows, width, kv_heads, -1, self.queries, BLOCK).add_(self.bias)
        weights = weights.sub_(weights.amax((1, 5), keepdim=True)).clamp_min_(_LEAST).exp_()
        total = weights.sum((1, 5))
        parts = weights.view(rows * width, *shape).index_select(0, self.back).matmul(values).index_select(0, self.place)
        sums = parts.new_zeros(rows, *parts.shape[1:]).index_add_(0, self.row, parts)
        found = sums.view(rows, kv_heads, -1, self.queries, features).div_(total[..., None]).permute(0, 3, 1, 2, 4)
        found = found.reshape(rows * self.queries, -1, features)
        return found if self.padded is None else found.index_select(0, self.real)


def _linear(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def _normed(norm: Any, x: Tensor) -> Tensor:
    return normed(x, norm.weight, norm.variance_epsilon)[0]


def normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the root-mean-square norm of [T, D], and its [T, 1] scale."""
    scale = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (x * scale).mul_(weight), scale


def rotated(x: Tensor, phases: Tensor, *, back: bool = False) -> Tensor:
    """Apply rotary positions to [T, heads, features] with [T, 2, features] cosines and sines, or turn them back."""
    half = x.shape[2] // 2
    sign = -1 if back else 1
    turned = x * phases[:, :1]
    turned[..., :half].addcmul_(x[..., half:], phases[:, 1:, :half], value=-sign)
    turned[..., half:].addcmul_(x[..., :half], phases[:, 1:, half:], value=sign)
    return turned


def _triangle(queries: int, span: int) -> Tensor:
    """Return a mask whose last q rows and last s columns are the causal mask of q queries at the end of s positions."""
    return torch.full((queries, span), _MASKED).triu_(span - queries + 1)
