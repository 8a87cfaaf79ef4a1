"""Memory of a run: the error that a user sees when it is full, and what garbage collection skips."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import torch

from empg_gym.errors import TrainingError


@contextlib.contextmanager
def libraries_uncollected() -> Iterator[None]:
    """Let garbage collection skip the objects that exist now.

    The libraries keep hundreds of thousands of them, and a search for garbage among them takes 0.2 s every few steps.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
