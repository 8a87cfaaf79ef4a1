"""`LeanDecoder`: the forward pass of Llama-type models over packed rows, for small models on the CPU.

The modules of transformers cost more than the arithmetic of a small model, and a rectangle of rows is mostly padding. This pass

    - computes the new tokens of all rows without padding, with the weights of the model's own modules (it copies none);
    - computes the last layer, except its keys and values, only for the tokens after which logits are wanted;
    - attends to a few rows of similar length at a time; the sums have the order of the row's tokens, wherever its blocks are.

It equals the modules up to the order of float sums. It is used where that is known: see `suits` and `LeanDecoder.usable`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
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
_GATHERED = 2**18
"""Numbers that are gathered at once as keys, and again as values, if several rows have so few: a megabyte."""
_FEW = 5
"""Maximum number of queries of a row that generates. Such rows attend apart from those that are read, whose queries are many."""
_MASKED = -1e30


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


def children_of(model: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Return every module of the model with its children."""
    return [(module, dict(module._modules)) for module in model.modules()]


def is_plain(children: list[tuple[Any, dict[str, Any]]]) -> bool:
    """Return whether modules still have these children, and no hook waits for a call of one."""
    return all(module._modules == own and not module._forward_hooks and not module._forward_pre_hooks for module, own in children)


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
        self._children = children_of(model)

    @classmethod
    def of(cls, model: PreTrainedModel) -> LeanDecoder | None:
        """Return the lean pass of a model, or None where its modules must run."""
        return cls(model) if suits(model) else None

    def usable(self) -> bool:
        """Return whether the modules are still those that `of` saw: no adapter has replaced a layer, and no hook waits for a call."""
        return is_plain(self._children)

    def __call__(self, batch: Pass, cache: PagedCache) -> Tensor:
        """Run a pass and return [T', V] the wanted logits."""
        rows = np.repeat(np.arange(len(batch.counts)), batch.counts)
        ends = np.cumsum(batch.counts)
        positions = np.arange(len(rows)) - (ends - batch.counts)[rows] + batch.starts[rows]
        blocks = torch.from_numpy(batch.table[rows, positions // BLOCK])
        cache.placement.place(blocks, torch.from_numpy(positions % BLOCK), torch.from_numpy(np.ascontiguousarray(batch.table)))
        wanted = None if len(rows) == batch.wanted.sum() else torch.from_numpy(places(ends - batch.wanted, batch.wanted))
        phases = self._phases_at(positions, int((batch.starts + batch.counts).max()))
        few = _Attention(batch, batch.wanted, self.kv_heads, self.features)
        many = few if wanted is None else _Attention(batch, batch.counts, self.kv_heads, self.features)
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
            attended = (few if wanted is None else many)(queries, store, attention.scaling)
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


class _Attention:
    """Attention of the last tokens of each row of a pass to all tokens of their row.

    It runs over a few rows of similar length at a time, whose keys and values are gathered and are used while the core's cache holds them.

    Args:
        batch: the pass.
        counts: [B] queries of each row.
        kv_heads: of keys and values.
        features: of a head.
    """

    def __init__(self, batch: Pass, counts: NDArray[np.int64], kv_heads: int, features: int) -> None:
        self.kv_heads = kv_heads
        number = -(-counts // _QUERIES)
        row = np.repeat(np.arange(len(counts)), number)
        before = places(np.zeros_like(number), number) * _QUERIES
        asked = np.minimum(counts[row] - before, _QUERIES)
        first = (np.cumsum(counts) - counts)[row] + before
        position = (batch.starts + batch.counts - counts)[row] + before
        widths = -(-(position + asked) // BLOCK)
        order = np.lexsort((widths, asked > _FEW))
        kinds = np.split(order, [np.count_nonzero(asked <= _FEW)])
        self.chunks: list[tuple[int, int, NDArray[np.int64], Tensor]] = []
        """Rows, queries per row, blocks and mask."""
        padded, real = [], []
        for some in itertools.chain.from_iterable(_split(kind, widths, _GATHERED // (BLOCK * kv_heads * features)) for kind in kinds):
            width, queries = int(widths[some[-1]]), int(asked[some].max())
            offsets = np.minimum(np.arange(queries), asked[some, None] - 1)
            padded.append((first[some, None] + offsets).ravel())
            real.append((np.arange(queries) < asked[some, None]).ravel())
            last = (position[some, None] + offsets).astype(np.int32)
            mask = (np.arange(width * BLOCK, dtype=np.int32) > last[:, None, :, None]) * np.float32(_MASKED)
            self.chunks.append((len(some), queries, batch.table[row[some], :width].ravel(), torch.from_numpy(mask)))
        asking, is_real = np.concatenate(padded), np.concatenate(real)
        back = np.empty(int(counts.sum()), np.int64)
        back[asking[is_real]] = np.flatnonzero(is_real)
        self.asking, self.back = torch.from_numpy(asking), torch.from_numpy(back)
        """Query of each place of the chunks, padding repeats the last one of a row; place of each query."""

    def __call__(self, queries: Tensor, store: PagedLayer, scale: float) -> Tensor:
        """Return [T, heads, features] for queries of the same shape."""
        heads, features = queries.shape[1:]
        pools = [pool.flatten(1).numpy() for pool in (store.keys, store.values)]
        asking = queries.index_select(0, self.asking).split([rows * count for rows, count, _, _ in self.chunks])
        found = []
        # Allocated once: writing to fresh memory takes twice as long. NumPy copies blocks with less overhead than torch.
        memory = np.empty((2, max(len(blocks) for _, _, blocks, _ in self.chunks), pools[0].shape[1]), np.float32)
        for (rows, count, blocks, mask), some in zip(self.chunks, asking, strict=True):
            keys, values = (
                torch.from_numpy(pool.take(blocks, 0, into[: len(blocks)], "clip")).view(rows, -1, self.kv_heads, features).transpose(1, 2)
                for pool, into in zip(pools, memory, strict=True)
            )
            attended = scaled_dot_product_attention(
                some.view(rows, count, heads, features).transpose(1, 2),
                keys,
                values,
                attn_mask=mask,
                scale=scale,
                enable_gqa=heads > self.kv_heads,
            )
            found.append(attended.transpose(1, 2).reshape(-1, heads, features))
        return torch.cat(found).index_select(0, self.back)


def _split(order: NDArray[np.int64], widths: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """Yield parts of `order`, in which widths rise, whose number times the largest width is at most `most`, or which are one alone."""
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - begin) * widths[order[end]] > most:
            yield order[begin:end]
            begin = end


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
