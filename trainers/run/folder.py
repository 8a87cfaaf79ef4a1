"""The folder of a training run: whether a run may write to it, and where it goes on.

Rules:
    - A folder is checked before a run writes anything to it. One that holds something else than a run is left alone.
    - One run writes at a time: it holds the folder from before its first change to its end.
    - With `resume`, a folder that is missing, is empty or has no checkpoint yet starts the run from its beginning.
    - A damaged file is named; nothing of the folder is changed for it.
    - `summary.json` stands there only while the run is finished; a run that goes on takes it away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.runs.atomic_write import atomic_write
from empg_gym.runs.lock import FolderLock
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.checkpoint import TrainerState, latest_checkpoint, load_state
from empg_gym.trainers.run.metrics import BOARD, METRICS, keep_until

CONFIG, SAMPLES, SUMMARY, CHECKPOINTS = "config.json", "trajectories.jsonl", "summary.json", "checkpoints"
MEMORY = ("rl.token_budget", "rl.logit_chunk", "warmstart.token_budget", "rollout.concurrency")
"""Keys that change what a run needs, and its results by no more than rounding."""
RESUMABLE = ("run", "rl.steps", "eval.every", "eval.curve_tasks", *MEMORY)
"""Keys and sections in which a resumed run may differ from the one that it goes on with (`run.seed` excepted)."""


def find_checkpoint(config: TrainConfig, *, resume: bool) -> Path | None:
    """Check the output folder; return the checkpoint to go on from, None to start from the beginning.

    Raises:
        OutputExistsError: the folder holds something else, or a run and `resume` is not set, or another run is writing to it.
        ConfigError: no folder can be there, it can't be written to, or the run in it has another configuration.
        DataError: the run in it is damaged.
    """
    folder = Path(config.run.out)
    try:
        _check_writable(folder)
        if folder.exists():
            FolderLock(folder).close()
        used = folder.exists() and any(not path.name.startswith(f".{CONFIG}") for path in folder.iterdir())
    except OSError as error:
        raise _unusable(folder, error) from None
    if not used:
        return None
    if not _holds_run(folder):
        raise OutputExistsError(f"the output folder {folder} is not empty and holds no training run; name another one with --out")
    if not resume:
        raise OutputExistsError(
            f"the output folder {folder} holds a training run already; go on with it with --resume, or name another one with --out"
        )
    checkpoint = latest_checkpoint(folder / CHECKPOINTS)
    _check_same(_read_config(folder / CONFIG), config.model_dump(mode="json"))
    return checkpoint


def _holds_run(folder: Path) -> bool:
    """Whether the folder is a training run's; a damaged configuration may be one."""
    if (folder / CHECKPOINTS).exists():
        return True
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return True
    return isinstance(config, dict) and {"model", "rl"} <= config.keys()


def is_finished(config: TrainConfig) -> bool:
    """Whether the run that would be resumed has come to its end. Raises what `find_checkpoint` raises."""
    checkpoint = find_checkpoint(config, resume=True)
    if checkpoint is None or not (Path(config.run.out) / SUMMARY).is_file():
        return False
    state = load_state(checkpoint)
    return state.phase == "rl" and state.step >= config.rl.steps


def take(config: TrainConfig, checkpoint: Path | None) -> FolderLock:
    """Make the folder and keep other runs from it; `checkpoint` is what `find_checkpoint` found.

    Raises:
        OutputExistsError: another run is writing to it, or has been since `find_checkpoint` looked.
        ConfigError: it can't be made.
    """
    folder = Path(config.run.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
    except OSError as error:
        raise _unusable(folder, error) from None
    if latest_checkpoint(folder / CHECKPOINTS) != checkpoint:
        lock.close()
        raise OutputExistsError(f"another run has written to {folder} meanwhile; start again, or give another folder with --out")
    return lock


def prepare(config: TrainConfig, state: TrainerState | None) -> None:
    """Make the folder ready for a run that goes on at `state`; None begins anew.

    Raises:
        ConfigError: the folder can't be written to.
    """
    folder = Path(config.run.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config.model_dump(mode="json"))
        (folder / SUMMARY).unlink(missing_ok=True)
        if state is None and (folder / BOARD).exists():
            shutil.rmtree(folder / BOARD)
        for name in (METRICS, SAMPLES):
            if state is None:
                (folder / name).unlink(missing_ok=True)
            else:
                keep_until(folder / name, state.phase, state.step)
    except OSError as error:
        raise _unusable(folder, error) from None


def write_json(path: Path, value: object) -> None:
    """Replace a file as a whole."""
    atomic_write(path, json.dumps(value, indent=2) + "\n")


def _check_writable(folder: Path) -> None:
    """Raise OSError where the folder can't be made or written to, without making it."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"no permission to write to {there}")


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"the output folder {folder} can't be used: {error.strerror or error}; name another one with --out")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(config, dict):
        raise _damaged(path, "not a JSON object")
    return config


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"can't resume: {path} is missing or damaged ({reason}); put it back, or start a new run with --out")


def _check_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    for key in sorted(before.keys() | after.keys()):
        free = key != "run.seed" and any(key == name or key.startswith(name + ".") for name in RESUMABLE)
        if before.get(key) != after.get(key) and not free:
            raise ConfigError(
                f"the run that is to be resumed has {key} = {before.get(key)!r}, the configuration {after.get(key)!r}; "
                "resume with the same configuration, or start a new run with --out"
            )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", value)]
    return found
