"""EMPG on verl's nested tensors.

A registered estimator of verl gets rewards and masks, but no entropies, so `modulate` can't be one; see `empg_gym.adapters.verl.trainer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from empg_gym.adapters.credit import EMPGOptions, modulate_rows
from empg_gym.errors import ConfigError


def modulate_nested(
    advantages: Any, entropies: Any, response_mask: Any, keys: Sequence[str], options: EMPGOptions
) -> tuple[Tensor, dict[str, float]]:
    """Return modulated advantages as a nested tensor, and statistics.

    Args:
        advantages: nested [B, T*], as verl's trainer wrote them.
        entropies: nested [B, T*] of the policy that generated.
        response_mask: nested [B, T*], 1 where the model generated the token.
        keys: `{uid}_{session}_{index}` of each row: rows with equal uid and session are one trajectory, in the order of their index.
        options: of the modulation.

    Raises:
        ConfigError: a key is of another form, or the tensors' lengths differ.
    """
    trajectory, order = _sessions(keys)
    lengths = response_mask.offsets().diff().tolist()
    padded = [torch.nested.to_padded_tensor(part.float(), 0.0) for part in (advantages, entropies, response_mask)]
    if any(part.offsets().diff().tolist() != lengths for part in (advantages, entropies)):
        raise ConfigError("advantages, entropies and response_mask must have rows of equal lengths; this batch's differ")
    base, entropy, mask = (part[order] for part in padded)
    sorted_values, stats = modulate_rows(base, entropy, mask, options, trajectory=trajectory[order])
    values = torch.empty_like(sorted_values)
    values[order] = sorted_values
    rows = [row[:length].to(advantages.dtype) for row, length in zip(values, lengths, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged), stats


def _sessions(keys: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return each row's trajectory, and the rows sorted by trajectory and position in it."""
    parts = [key.rsplit("_", 2) for key in keys]
    if any(len(part) != 3 or not part[2].isdecimal() for part in parts):
        raise ConfigError("expected keys of the form uid_session_index, as verl's agent loops write them")
    numbers: dict[tuple[str, str], int] = {}
    trajectory = [numbers.setdefault((uid, session), len(numbers)) for uid, session, _ in parts]
    order = sorted(range(len(keys)), key=lambda row: (trajectory[row], int(parts[row][2])))
    return torch.tensor(trajectory, dtype=torch.int64), torch.tensor(order, dtype=torch.int64)
