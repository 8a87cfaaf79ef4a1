"""Checkpoints: a Hugging Face folder (safetensors, tokenizer) plus the trainer's state.

Rules:
    - A model with adapters (LoRA) is saved as a `peft` folder `adapter/` and, if wanted, merged in the checkpoint's own folder, which is
      then a plain model. Training resumes from the adapter and the base model.
    - A checkpoint appears whole or not at all: it is written under another name and renamed when complete.
    - `checkpoints/latest` holds the name of the newest checkpoint; it is replaced atomically and always names a complete one.
    - The state is everything that a resumed run depends on. Tasks, seeds and orders are functions of (seed, step), so the step number
      is the cursor of tasks.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from empg_gym.errors import DataError
from empg_gym.runs.atomic_write import atomic_write, flush, flush_folder
from empg_gym.trainers.policy.lora import ADAPTER, is_adapted, plain_parameters, save_adapter
from empg_gym.trainers.run.latest import LATEST, named_by
from empg_gym.trainers.run.metrics import PHASES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STATE = "trainer_state.pt"
_ADDED = {"latest", "best"}
"""Fields that checkpoints of earlier versions lack."""


@dataclass(slots=True, kw_only=True)
class TrainerState:
    """The progress of a run."""

    phase: str
    step: int
    """Finished steps of the phase."""
    seconds: float
    """Since the start of the run, without pauses."""
    cpu_seconds: float = 0.0
    """CPU time of this process since the start of the run, over all threads."""
    start_weights: str = ""
    """Hash of the weights after the warm start (`weights_hash`); empty before."""
    optimizer: dict[str, Any] | None = None
    """None at the start of a phase."""
    evaluations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """"before" and "after": one result per split."""
    latest: dict[str, Any] | None = None
    """{"step", "results"} of the latest evaluation."""
    best: dict[str, Any] | None = None
    """The best checkpoint (`empg_gym.trainers.run.best`)."""

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder."""
        return f"{self.phase}-{self.step:06d}"


def save_checkpoint(
    folder: Path, state: TrainerState, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, merged: bool = True, card: str = ""
) -> Path:
    """Write a checkpoint in `folder`, make it the latest and return its folder.

    Args:
        folder: of all checkpoints of the run.
        state: the progress of the run.
        model: with or without adapters.
        tokenizer: of the model.
        merged: whether a model with adapters is also saved as a plain model.
        card: text of its model card; "" writes none.
    """
    target = folder / state.name
    partial = folder / f".partial-{state.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if is_adapted(model):
        save_adapter(model, partial / ADAPTER)
    if not is_adapted(model):
        model.save_pretrained(partial)
    elif merged:
        model.save_pretrained(partial, state_dict={name: item.cpu() for name, item in plain_parameters(model)})
    tokenizer.save_pretrained(partial)
    fields = {name: getattr(state, name) for name in TrainerState.__dataclass_fields__}
    torch.save(fields, partial / STATE)
    if card:
        (partial / "README.md").write_text(card, encoding="utf-8")
    for path in partial.rglob("*"):  # a tokenizer with several chat templates stores them in a folder
        if path.is_file():
            flush(path)
        elif path.is_dir():
            flush_folder(path)
    flush_folder(partial)
    if target.exists():
        if latest_checkpoint(folder) == target:
            # A folder can't replace another atomically: meanwhile `latest` names a copy of the old one.
            _point(folder, shutil.copytree(target, folder / f".previous-{state.name}", dirs_exist_ok=True).name)
        shutil.rmtree(target)
    partial.rename(target)
    flush_folder(folder)
    _point(folder, target.name)
    for leftover in folder.glob(".p*-*"):
        shutil.rmtree(leftover)
    return target


def weights_hash(model: PreTrainedModel) -> str:
    """Return a hash of a model's weights, 16 hexadecimal digits: equal exactly if all values are, so that machines can be compared."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the folder of the newest checkpoint; None if there is none yet.

    Raises:
        DataError: the checkpoint that `latest` names is missing, or `latest` holds something else.
    """
    pointer = folder / LATEST
    if not pointer.is_file():
        return None
    found = named_by(pointer)
    if not (found / STATE).is_file():
        raise DataError(f"the latest checkpoint {found} is missing or damaged; write the name of another one to {pointer}")
    return found


def load_state(checkpoint: Path) -> TrainerState:
    """Read the trainer's state of a checkpoint.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    path = checkpoint / STATE
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise _damaged(path, str(error).strip().split("\n", 1)[0]) from None
    known = TrainerState.__dataclass_fields__.keys()
    if not isinstance(fields, dict) or not known - _ADDED <= fields.keys() <= known:
        found = ", ".join(map(str, fields)) if isinstance(fields, dict) else type(fields).__name__
        raise _damaged(path, f"expected {', '.join(TrainerState.__dataclass_fields__)}, found {found}")
    state = TrainerState(**fields)
    whole = (
        state.phase in PHASES
        and isinstance(state.step, int)
        and isinstance(state.seconds, float)
        and isinstance(state.cpu_seconds, float)
        and isinstance(state.start_weights, str)
        and (state.optimizer is None or isinstance(state.optimizer, dict))
        and isinstance(state.evaluations, dict)
        and (state.latest is None or isinstance(state.latest, dict))
        and (state.best is None or isinstance(state.best, dict))
    )
    if not whole:
        raise _damaged(path, "a field has an unexpected value")
    return state


def prune(folder: Path, keep: int, pinned: set[str]) -> None:
    """Delete all but the newest `keep` checkpoints and those named in `pinned`."""
    found = sorted((path for path in folder.glob("[!.]*-*") if (path / STATE).is_file()), key=lambda path: path.stat().st_mtime_ns)
    for path in found[:-keep]:
        if path.name not in pinned:
            # Renamed first: a kill must not leave half a checkpoint under its name. The next save removes the rest.
            doomed = path.rename(folder / f".pruned-{path.name}")
            shutil.rmtree(doomed)


def _point(folder: Path, name: str) -> None:
    """Make `name` the latest checkpoint, atomically."""
    atomic_write(folder / LATEST, name + "\n", sync=True)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is damaged or not a trainer's state ({reason}); write the name of another checkpoint to {path.parent.parent / LATEST}"
    )
