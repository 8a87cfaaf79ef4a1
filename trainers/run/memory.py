"""What a user sees when the device runs out of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from empg_gym.errors import TrainingError


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn an out-of-memory error of torch into one that names the settings to lower.

    Raises:
        TrainingError: the device's memory is full.
    """
    try:
        yield
    except Exception as error:
        full = error if isinstance(error, torch.OutOfMemoryError) else error.__cause__  # a stage of the user's own wraps it
        if not isinstance(full, torch.OutOfMemoryError):
            raise
        reason = str(full).split(". ", 1)[0]
        raise TrainingError(
            f"the device's memory is full ({reason}): set rl.token_budget (warmstart.token_budget) or rl.logit_chunk lower, or "
            "run.gradient_checkpointing = true, and resume from the last checkpoint with --resume"
        ) from error
