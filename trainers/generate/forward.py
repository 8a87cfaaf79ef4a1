"""The forward pass of the engine over a batch of cached rows: by the modules of any model, or lean for small models on the CPU.

Both read the new tokens of each row, write their keys and values to the cache, and return the logits after the last one. They agree up to
the order of float sums.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel

from empg_gym.trainers.generate.cache import BLOCK, SCRATCH, PagedCache
from empg_gym.trainers.generate.lean import LeanDecoder
from empg_gym.trainers.generate.token_pass import Pass


class Forward:
    """The forward pass for a model: lean where the model allows it, by its modules otherwise.

    Args:
        model: a causal language model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._modules = ModuleForward(model)
        self._lean = LeanDecoder.of(model)

    @property
    def lean(self) -> bool:
        """Whether the next pass can be lean. Only then can it return logits after more tokens than the last one of a row."""
        return self._lean is not None and self._lean.usable()

    def __call__(self, batch: Pass, cache: PagedCache, *, lean: bool) -> torch.Tensor:
        """Run a pass and return [T', V] the wanted logits."""
        return self._lean(batch, cache) if self._lean is not None and lean else self._modules(batch, cache)


class ModuleForward:
    """Runs the model's own modules: the rows as a rectangle, aligned on the right, padded on the left.

    Args:
        model: a causal language model that accepts a four-dimensional attention mask.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._additive_mask = model.config.get_text_config()._attn_implementation == "eager"

    def __call__(self, batch: Pass, cache: PagedCache) -> torch.Tensor:
        """Run a pass and return [B, V] logits after the last token of each row."""
        device = self.model.device
        width = int(batch.counts.max())
        offsets = np.arange(width) - (width - batch.counts)[:, None]
        real = offsets >= 0
        tokens = np.zeros(real.shape, np.int64)
        tokens[real] = batch.tokens
        positions = np.where(real, batch.starts[:, None] + offsets, 0)
        blocks = np.where(real, np.take_along_axis(batch.table, positions // BLOCK, axis=1), SCRATCH)
        on_device = (torch.from_numpy(array).to(device) for array in (blocks.ravel(), (positions % BLOCK).ravel(), batch.table))
        cache.placement.place(*on_device)
        positions_BQ = torch.from_numpy(positions).to(device)
        mask = torch.arange(batch.table.shape[1] * BLOCK, device=device) <= positions_BQ[:, None, :, None]
        if self._additive_mask:
            mask = torch.zeros_like(mask, dtype=self.model.dtype).masked_fill(~mask, torch.finfo(self.model.dtype).min)
        output = self.model(
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=mask,
            position_ids=positions_BQ,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits
