"""Checkpoints: a Hugging Face folder (safetensors, tokenizer) with the trainer's state beside the weights.

Rules:
    - A checkpoint appears whole or not at all: it is written under a name of its own and renamed when it is complete.
    - `checkpoints/latest` holds the name of the newest one; it too is replaced in one move.
    - The state is everything that decides how the run goes on. Tasks, seeds and orders are functions of (seed, step), so the step
      number is the cursor of tasks.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from empg_gym.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STATE = "trainer_state.pt"
LATEST = "latest"


@dataclass(slots=True, kw_only=True)
class TrainerState:
    """Where a run stands."""

    phase: str
    step: int
    """Steps of the phase that are done."""
    seconds: float
    """Since the start of the run, pauses left out."""
    optimizer: dict[str, Any] | None = None
    """None at the start of a phase."""
    rng: torch.Tensor = field(default_factory=torch.get_rng_state)
    evaluations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """"before" and "after": results a split."""

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder."""
        return f"{self.phase}-{self.step:06d}"


def save_checkpoint(folder: Path, state: TrainerState, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    """Write a checkpoint below `folder` and make it the latest; returns its folder."""
    target = folder / state.name
    partial = folder / f".partial-{state.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial, safe_serialization=True)
    tokenizer.save_pretrained(partial)
    fields = {name: getattr(state, name) for name in TrainerState.__dataclass_fields__}
    torch.save(fields, partial / STATE)
    for path in partial.iterdir():
        _flush(path)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    pointer = folder / f".{LATEST}"
    pointer.write_text(state.name + "\n", encoding="utf-8")
    _flush(pointer)
    pointer.replace(folder / LATEST)
    return target


def latest_checkpoint(folder: Path) -> Path:
    """Return the folder of the newest checkpoint.

    Raises:
        ConfigError: there is none.
    """
    pointer = folder / LATEST
    if not pointer.is_file():
        raise ConfigError(f"nothing to resume at {folder.parent}: it has no checkpoint; start the run without --resume")
    found = folder / pointer.read_text(encoding="utf-8").strip()
    if not (found / STATE).is_file():
        raise ConfigError(f"the latest checkpoint {found} is missing or damaged; write the name of another one into {pointer}")
    return found


def load_state(checkpoint: Path) -> TrainerState:
    """Read the trainer's state of a checkpoint."""
    fields = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return TrainerState(**fields)


def prune(folder: Path, keep: int, pinned: set[str]) -> None:
    """Delete all but the newest `keep` checkpoints and those named in `pinned`."""
    found = sorted((path for path in folder.glob("*-*") if (path / STATE).is_file()), key=lambda path: path.stat().st_mtime_ns)
    for path in found[:-keep]:
        if path.name not in pinned:
            shutil.rmtree(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
