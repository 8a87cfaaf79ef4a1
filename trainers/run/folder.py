"""The folder of a training run: whether a run may write to it, and which checkpoint it resumes from.

Rules:
    - A folder is checked before a run writes anything to it. A folder that holds anything other than a training run is left alone.
    - One run writes at a time: it holds the folder's lock from before its first change to its end.
    - With `resume`, a folder that is missing, is empty or lacks a checkpoint starts the run from the beginning.
    - A damaged file is named in the error, and nothing in the folder is changed.
    - `summary.json` says whether the run is complete: false after an interrupt. A resumed run removes it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from empg_gym.errors import DataError, OutputExistsError
from empg_gym.runs.folder import CONFIG, OUTCOMES, SUMMARY, TRAJECTORIES, check_writable, is_unused, writing_to
from empg_gym.runs.json_file import read_json, write_json
from empg_gym.runs.lock import FolderLock
from empg_gym.runs.redaction import Redactor
from empg_gym.runs.resume import require_same
from empg_gym.trainers.collect.journal import ROLLOUTS
from empg_gym.trainers.config.file import redacted_config
from empg_gym.trainers.config.sections import RunConfig, TrainConfig
from empg_gym.trainers.run.checkpoint import TrainerState, latest_checkpoint, load_state
from empg_gym.trainers.run.metrics import BOARD, METRICS, keep_until

CHECKPOINTS = "checkpoints"
MEMORY = ("rl.token_budget", "rl.logit_chunk", "warmstart.token_budget", "rollout.concurrency")
"""Keys that change the memory a run needs, and its results by no more than rounding."""
BACKEND = ("rollout.env_backend", "rollout.step_seconds", "rollout.reset_seconds")
"""Keys that decide where environments run, and nothing about their episodes."""
RESUMABLE = (
    *(f"run.{key}" for key in RunConfig.model_fields if key != "seed"),
    "model.trust_remote_code",
    "rl.steps",
    "model.lora.save_merged",
    "eval.every",
    "eval.curve_tasks",
    *MEMORY,
    *BACKEND,
)
"""Keys in which a resumed run may differ from the saved one."""
_HINT = "put the file back, or start a new run with --out"


def find_checkpoint(config: TrainConfig, *, resume: bool) -> Path | None:
    """Check the output folder; return the checkpoint to resume from, None to start from the beginning.

    Raises:
        OutputExistsError: the folder holds something else, a run while `resume` is not set, or a run with another configuration; or another
            run is writing to it.
        ConfigError: the folder can't be created or written to.
        DataError: the run in it is damaged.
    """
    folder = Path(config.run.out)
    with writing_to(folder):
        check_writable(folder)
        if folder.exists():
            FolderLock(folder).close()
        if is_unused(folder):
            return None
    if not _holds_run(folder):
        raise OutputExistsError(f"{folder} is not empty and holds no training run; choose another folder with --out")
    if not resume:
        raise OutputExistsError(f"{folder} already holds a training run; resume it with --resume, or choose another folder with --out")
    checkpoint = latest_checkpoint(folder / CHECKPOINTS)
    saved = Redactor().tree(read_json(folder / CONFIG, hint=_HINT))
    require_same(folder, saved, redacted_config(config), may_differ=RESUMABLE)
    return checkpoint


def _holds_run(folder: Path) -> bool:
    """Whether the folder belongs to a training run; one with a damaged configuration may."""
    if (folder / CHECKPOINTS).exists():
        return True
    if not (folder / CONFIG).exists():
        return False
    try:
        return {"model", "rl"} <= read_json(folder / CONFIG, hint=_HINT).keys()
    except DataError:
        return True


def is_finished(config: TrainConfig) -> bool:
    """Whether the run to resume has finished. Raises what `find_checkpoint` raises."""
    checkpoint = find_checkpoint(config, resume=True)
    summary = Path(config.run.out) / SUMMARY
    if checkpoint is None or not summary.is_file() or not read_json(summary, hint=_HINT).get("complete", True):
        return False
    state = load_state(checkpoint)
    return state.phase == "rl" and state.step >= config.rl.steps


def lock_run_folder(config: TrainConfig, checkpoint: Path | None) -> FolderLock:
    """Create the folder and lock it; `checkpoint` is the result of `find_checkpoint`.

    Raises:
        OutputExistsError: another run is writing to the folder, or has written to it since `find_checkpoint`.
        ConfigError: the folder can't be created.
    """
    folder = Path(config.run.out)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
    if latest_checkpoint(folder / CHECKPOINTS) != checkpoint:
        lock.close()
        raise OutputExistsError(f"another run has just written to {folder}; start again, or choose another folder with --out")
    return lock


def reset_run_files(config: TrainConfig, state: TrainerState | None) -> None:
    """Cut the files of the folder back to `state`, from which the run resumes; None starts from scratch.

    Raises:
        ConfigError: the folder can't be written to.
    """
    folder = Path(config.run.out)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, redacted_config(config))
        (folder / SUMMARY).unlink(missing_ok=True)
        for name in (BOARD, ROLLOUTS) if state is None else ():
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        for name in (METRICS, TRAJECTORIES, OUTCOMES):
            if state is None:
                (folder / name).unlink(missing_ok=True)
            else:
                keep_until(folder / name, state.phase, state.step)
