"""The folder of an evaluation, from which a killed run resumes.

    config.json          what the results depend on, and the versions that ran
    trajectories.jsonl   one line per episode, written and flushed as it ends
    tokenizer/           the tokenizer of an agent that runs its model here, to show its tokens as texts
    failures.jsonl       episodes that failed in an earlier run and were run again
    summary.json         written at the end, also of an interrupted run

Rules:
    - A folder belongs to one configuration. A run with the same one resumes; another is refused with an error that names what differs.
    - A resumed run keeps every scored episode and runs the failed and the missing ones. A line that a kill cut off is dropped.
    - One process writes at a time.
    - All files but the lines are replaced whole, so that a reader never sees half of one.
    - Failures move to their file in three steps: the new file is written as `failures.jsonl.moving`, the lines lose the failures, the new
      file takes its name. After a kill, failures among the lines mean that the second step has not happened, and all three are repeated;
      otherwise only the third is missing.
    - Every line is read before anything is written: a damaged, edited, foreign or duplicate line leaves the folder as it was. Lines carry a
      digest (`empg_gym.runs.line_digest`); those of earlier versions have none and are counted as unverified.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from empg_gym.errors import DataError, OutputExistsError
from empg_gym.runs.atomic_write import atomic_write, flush_folder, remove_unfinished
from empg_gym.runs.folder import CONFIG, SUMMARY, TRAJECTORIES, is_unused, writing_to
from empg_gym.runs.json_file import read_json, write_json
from empg_gym.runs.line_digest import Origin, origin, signed
from empg_gym.runs.lock import FolderLock
from empg_gym.runs.redaction import Redactor
from empg_gym.runs.resume import require_same
from empg_gym.trajectory import StopReason, Trajectory, read_trajectories

FAILURES = "failures.jsonl"
TOKENIZER = "tokenizer/tokenizer.json"
LARGEST_TOKENIZER = 64 << 20
"""Bytes."""
MAY_DIFFER = (
    *("versions", "concurrency", "retries", "backend", "prices"),
    # These only name the origin of other entries; folders of earlier versions lack them.
    *("environments.*.data", "environments.*.as_trained", "agent.as_trained"),
)
"""Entries of a configuration in which a resumed run may differ from the saved one."""
_REMOVE = "remove the line to run its episode again, or choose another folder with --out"
HINT = "expected the folder of an evaluation, as `empg-gym eval --out` writes it"


class RunFolder:
    """The folder of one evaluation, open for writing."""

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self.unverified = 0
        """Lines of the resumed run without a digest."""
        self._redactor = redactor or Redactor()
        self._identity = ""
        self._moving = path / f"{FAILURES}.moving"
        self._lines: TextIO | None = None
        self._lock: FolderLock | None = None

    def open(self, config: Mapping[str, Any], keep: Callable[[Trajectory], bool]) -> None:
        """Begin or resume a run; `keep` is called with each trajectory that need not be run again, and returns whether it belongs to
        the run and is new.

        Raises:
            OutputExistsError: the folder holds something else or another configuration, or another process is writing to it.
            ConfigError: the folder can't be written to.
            DataError: a file in it is damaged.
        """
        try:
            self._identity = _identity(config)
            with writing_to(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self.path)
                if (self.path / CONFIG).exists():
                    self._resume(config, keep)
                elif not is_unused(self.path):
                    raise OutputExistsError(f"{self.path} is not empty and holds no evaluation; choose another folder with --out")
                for name in (CONFIG, SUMMARY, TRAJECTORIES, self._moving.name):
                    remove_unfinished(self.path / name)
                write_json(self.path / CONFIG, config)
                self._lines = (self.path / TRAJECTORIES).open("a", encoding="utf-8")
        except BaseException:
            self.close()
            raise

    def append(self, trajectory: Trajectory) -> None:
        """Write the line of a finished episode."""
        assert self._lines is not None
        with writing_to(self.path):
            self._lines.write(self._line(trajectory) + "\n")
            self._lines.flush()

    def _line(self, trajectory: Trajectory) -> str:
        line = trajectory.to_json()
        shown = self._redactor.line(line)
        if shown != line and any(step.token_texts for step in trajectory.steps):
            # The texts of tokens spell what is hidden elsewhere.
            steps = [dataclasses.replace(step, token_texts=None) for step in trajectory.steps]
            shown = self._redactor.line(dataclasses.replace(trajectory, steps=steps).to_json())
        return signed(shown, self._identity)

    def keep_tokenizer(self, file: Path) -> None:
        """Copy a `tokenizer.json`, if there is none yet and it is of a usual size."""
        kept = self.path / TOKENIZER
        if not kept.exists() and file.is_file() and file.stat().st_size <= LARGEST_TOKENIZER:
            with writing_to(self.path):
                kept.parent.mkdir(exist_ok=True)
                atomic_write(kept, file.read_bytes())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary."""
        with writing_to(self.path):
            write_json(self.path / SUMMARY, summary)

    def close(self) -> None:
        """Let another process write."""
        if self._lines is not None:
            with contextlib.suppress(OSError):  # `append` has flushed each line, and reported a full disk
                self._lines.close()
            self._lines = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _resume(self, config: Mapping[str, Any], keep: Callable[[Trajectory], bool]) -> None:
        require_same(self.path, read_json(self.path / CONFIG, hint=HINT), config, may_differ=MAY_DIFFER)
        lines = self.path / TRAJECTORIES
        if not lines.exists():
            return
        kept, failed = [], []
        for number, (line, trajectory) in enumerate(_read(lines), 1):
            place = f"{lines}, line {number}"
            found = origin(line, self._identity)
            if found is Origin.FOREIGN:
                raise DataError(f"{place} was edited or written by another run (its digest does not match); {_REMOVE}")
            self.unverified += found is Origin.UNVERIFIED
            if trajectory.stop_reason == StopReason.ERROR:
                failed.append(line + "\n")
            elif keep(trajectory):
                kept.append(line + "\n")
            else:
                raise DataError(
                    f"{place} holds an episode that this run does not have, or has already: repeat {trajectory.repeat} of the task "
                    f"{trajectory.task[:60]!r} of {trajectory.env_id}; {_REMOVE}"
                )
        failures = self.path / FAILURES
        if failed:
            moved = failures.read_bytes() if failures.exists() else b""
            atomic_write(self._moving, moved[: moved.rfind(b"\n") + 1] + "".join(failed).encode(), sync=True)
        atomic_write(lines, "".join(kept), sync=True)
        if self._moving.exists():
            self._moving.replace(failures)
            flush_folder(self.path)


_FACTS = ("env_id", "env_version", "data_fingerprint", "split", "dialogue", "history", "show_admissible", "prompt_hash", "max_steps")


def _identity(config: Mapping[str, Any]) -> str:
    """Return what identifies the run of a configuration; equal for configurations that may continue each other."""
    facts = {key: [entry.get(name) for name in _FACTS] for key, entry in config["environments"].items()}
    return json.dumps([config["agent"]["name"], facts, config["seed"], config["limits"]], sort_keys=True, default=str)


def _read(path: Path) -> Iterator[tuple[str, Trajectory]]:
    """Yield the complete lines of a file, each with its trajectory; raises what `read_trajectories` raises."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line, trajectory in zip(lines, read_trajectories(path), strict=False):
            yield line.removesuffix("\n"), trajectory


def read_config(run: Path) -> dict[str, Any]:
    """Read the configuration of the evaluation in the folder `run`.

    Raises:
        DataError: it is missing, or was not written by an evaluation.
    """
    config = read_json(run / CONFIG, hint=HINT)
    environments, agent = config.get("environments"), config.get("agent")
    if not isinstance(agent, dict) or "name" not in agent or not isinstance(environments, dict) or not environments:
        raise DataError(f"{run} holds no evaluation: its {CONFIG} names no agent or no environments")
    for key, facts in environments.items():
        if not isinstance(facts, dict) or not isinstance(facts.get("kwargs", {}), dict):
            raise DataError(f"{run / CONFIG} is damaged: the entry of {key} was not written by `empg-gym eval`")
    return config
