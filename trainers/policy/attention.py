"""Attention over rows that follow each other without padding: every token attends to itself and to earlier tokens of its own row.

Rules:
    - It is an attention implementation of transformers, by the name `ROWS`. A forward pass of packed rows gives `cu_seq_lens_q` and
      `max_length_q`, like transformers' flash attention; any other pass (generation, padded rows) runs as "sdpa".
    - On CUDA in half precision it is torch's variable-length flash attention; elsewhere one call per row, which on a CPU is faster than
      padding or a block mask.
    - Sliding windows and soft caps of attention scores are not implemented: a model with one of them pads its rows (`can_pack`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = "sdpa_rows"


def can_pack(model: PreTrainedModel) -> bool:
    """Whether a model's attention can be replaced, and every layer attends to all earlier tokens of the row without a soft cap."""
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"]
    plain = set(layers) == {"full_attention"} and getattr(config, "attn_logit_softcapping", None) is None
    return plain and bool(model._supports_attention_backend) and config._attn_implementation in ("sdpa", ROWS)


def rows_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return [1, T, H, D] attention of packed rows, given [1, H, T, D] queries, keys and values; without `cu_seq_lens_q` that of "sdpa"."""
    if cu_seq_lens_q is None or max_length_q is None:
        result: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return result
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and value.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        # Rotary positions may have promoted queries and keys to float32 under autocast.
        query, key, value = (item[0].transpose(0, 1).to(value.dtype) for item in (query, key, value))
        joined = varlen_attn(
            query,
            key,
            value,
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1, 0),
            enable_gqa=grouped,
        )
        assert isinstance(joined, Tensor)
        return joined[None], None
    return _row_by_row(query, key, value, cu_seq_lens_q, scaling, grouped), None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _row_by_row(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scaling: float | None, grouped: bool) -> Tensor:
    lengths = starts.diff().tolist()
    rows = [
        scaled_dot_product_attention(*row, is_causal=True, scale=scaling, enable_gqa=grouped)  # type: ignore[misc]
        for row in zip(*(item.split(lengths, dim=2) for item in (query, key, value)), strict=True)
    ]
    return torch.cat(rows, dim=2).transpose(1, 2)


AttentionInterface.register(ROWS, rows_attention)
AttentionMaskInterface.register(ROWS, sdpa_mask)  # not built for packed rows: the scorer passes a 4D mask, which is left alone
