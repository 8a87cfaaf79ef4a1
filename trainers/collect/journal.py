"""The journal of a run's rollouts: every finished trajectory of the training steps since the last checkpoint.

    rollouts/step-000012.jsonl      the trajectories of reinforcement step 12 (counted from 1), one per line, in the order they ended

Rules:
    - A trajectory is written and flushed when its episode ends. A killed step resumes without playing it again, also where playing it
      again would not give the same episode (live web, a judge).
    - Steps between the last checkpoint and the kill are updated again from their journal, without playing anything.
    - A resumed step tries failed episodes again. Of an episode that the file holds twice, the last one counts; what branched off an earlier
      one does not count any more.
    - A line that was edited, or written by another run or for another step, is refused; lines carry a digest
      (`empg_gym.runs.line_digest`), those of earlier versions none.
    - A file is dropped once a checkpoint holds its step, unless the run keeps its rollouts. It is an ordinary file of trajectories: the
      evaluator, the report and `empg-gym train --replay` read it.
"""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import TextIO

from empg_gym.errors import DataError
from empg_gym.rollout import EpisodeSpec
from empg_gym.runs.folder import CONFIG
from empg_gym.runs.json_file import read_json
from empg_gym.runs.line_digest import Origin, origin, signed
from empg_gym.runs.redaction import Redactor
from empg_gym.trajectory import StopReason, Trajectory, read_trajectories

ROLLOUTS = "rollouts"
_log = logging.getLogger(__name__)

Key = tuple[int, int]
"""(group, repeat): names an episode within its step."""


def key_of(trajectory: Trajectory) -> Key:
    """Return the name of an episode within its step."""
    return trajectory.group, trajectory.repeat


def record(known: dict[Key, Trajectory], trajectory: Trajectory) -> None:
    """Add a trajectory to those of its step. It replaces the episode of its name, and with it the episodes that branched off that one."""
    replaced = {trajectory.repeat} if key_of(trajectory) in known else set()
    while replaced:
        for repeat in replaced:
            known.pop((trajectory.group, repeat), None)
        replaced = {item.repeat for item in known.values() if item.group == trajectory.group and item.parent in replaced}
    known[key_of(trajectory)] = trajectory


def is_recording_of(trajectory: Trajectory, spec: EpisodeSpec) -> bool:
    """Whether a trajectory of the same name as `spec` also begins where it does.

    A branching plan may name another episode so after an episode that failed was tried again.
    """
    origin = (None, 0) if spec.branch is None else (spec.branch.record.repeat, len(spec.branch.path))
    return (trajectory.parent, trajectory.branch_step) == origin


class Journal:
    """The journal in a run folder.

    Args:
        folder: of the run.
        keep: whether files stay after their step is in a checkpoint.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self.folder = folder / ROLLOUTS
        self.keep = keep
        self._lines: TextIO | None = None
        self._redactor = Redactor()
        self._identity = ""

    def open(self, step: int) -> dict[Key, Trajectory]:
        """Begin to journal a step, counted from 1, and return the finished episodes that an interrupted run left of it.

        Raises:
            DataError: the step's file is damaged.
        """
        self.close()
        path = self.path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._identity = self._identify(step)
        try:
            done = list(read_trajectories(path)) if path.exists() else []
            self._verify(path)
        except DataError as error:
            raise DataError(f"{error}; delete the line, or the file, and resume with --resume: its episodes are played again") from error
        _cut_torn_line(path)
        self._lines = path.open("a", encoding="utf-8")
        latest: dict[Key, Trajectory] = {}
        for item in done:
            record(latest, item)
        return {key: item for key, item in latest.items() if item.stop_reason is not StopReason.ERROR}

    def append(self, trajectory: Trajectory) -> None:
        """Write a finished trajectory."""
        if self._lines is not None:
            self._lines.write(signed(self._redactor.line(trajectory.to_json()), self._identity) + "\n")
            self._lines.flush()

    def _verify(self, path: Path) -> None:
        if not path.exists():
            return
        unverified = 0
        with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                found = origin(line.removesuffix("\n"), self._identity) if line.endswith("\n") else Origin.OWN
                if found is Origin.FOREIGN:
                    raise DataError(f"{path}, line {number} was edited or written by another run or step (its digest does not match)")
                unverified += found is Origin.UNVERIFIED
        if unverified:
            _log.warning("%d lines in %s have no digest: it is not known who wrote them", unverified, path)

    def _identify(self, step: int) -> str:
        """Return what identifies a step of the run, by its configuration file."""
        path = self.folder.parent / CONFIG
        config = read_json(path, hint="put it back") if path.is_file() else {}
        keys = (("env", "id"), ("env", "split"), ("env", "data"), ("model", "name"), ("run", "seed"))
        return json.dumps([step, *((config.get(section) or {}).get(key) for section, key in keys)])

    def drop_until(self, step: int) -> None:
        """Delete the files of the steps up to `step`: a checkpoint holds what was learned from them."""
        if self.keep:
            return
        for path in self.folder.glob("step-*.jsonl"):
            number = path.stem.removeprefix("step-")
            if number.isdecimal() and int(number) <= step:
                path.unlink()
        with contextlib.suppress(OSError):  # it stays while it holds anything
            self.folder.rmdir()

    def close(self) -> None:
        """Close the file of the current step."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def path(self, step: int) -> Path:
        """Return the file of a step, counted from 1."""
        return self.folder / f"step-{step:06d}.jsonl"


def _cut_torn_line(path: Path) -> None:
    """Remove a last line without its line break, which a killed writer left."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
