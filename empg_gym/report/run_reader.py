"""Read a run folder as far as it has been written.

Vocabulary:
    training run      has `metrics.jsonl`;
    evaluation run    has `trajectories.jsonl` and no metrics;
    a single `.jsonl` file of trajectories (games saved by `empg-gym play`) counts as an evaluation run without configuration.

Rules:
    - After the files grew, only new trajectories are read.
    - A file that shrank or was replaced is read from the beginning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from empg_gym.errors import DataError
from empg_gym.report.cells import number
from empg_gym.report.episodes import EpisodeStore
from empg_gym.report.metrics import Line, read_metrics
from empg_gym.report.outcomes import SplitOutcomes, read_outcomes
from empg_gym.report.publish import Publisher
from empg_gym.runs.folder import CONFIG, OUTCOMES, SUMMARY, TRAJECTORIES
from empg_gym.runs.json_file import read_json
from empg_gym.runs.redaction import Redactor
from empg_gym.trajectory import Trajectory

METRICS = "metrics.jsonl"
_FILES = (CONFIG, METRICS, TRAJECTORIES, SUMMARY, OUTCOMES)


class RunReader:
    """Reads the files of one run.

    Args:
        path: a run folder, or a JSON-lines file of trajectories.
        name: name of the run on a page that shows several.
        episodes: where its episodes go; None collects them separately.
        redact: hide what identifies a person or a machine (`empg_gym.report.publish`).

    Raises:
        DataError: the path does not exist, or lacks the files of a run.
    """

    def __init__(self, path: Path, *, name: str = "", episodes: EpisodeStore | None = None, redact: bool = False) -> None:
        self.path = path
        self.name = name
        self.folder = path if path.is_dir() else path.parent
        self._trajectories = path / TRAJECTORIES if path.is_dir() else path
        if not path.exists():
            raise DataError(f"no run at {path}: expected a folder that `empg-gym train` or `empg-gym eval` wrote")
        if path.is_dir() and not any((path / name).is_file() for name in _FILES):
            raise DataError(f"{path} is not a run folder: it has none of {', '.join(_FILES)}")
        self._redactor = Redactor()
        self._publisher = Publisher(path) if redact else None
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.metrics: list[Line] = []
        self.outcomes: list[SplitOutcomes] = []
        self.episodes = EpisodeStore() if episodes is None else episodes
        self._read_to = 0
        self._number = 0
        self._inode: int | None = None
        self._signature: tuple[tuple[int, int, int], ...] | None = None

    @property
    def title(self) -> str:
        """Name of the run: its folder's or file's."""
        name = self.path.resolve().name
        return name if self._publisher is None else self._publisher.text(name)

    @property
    def history(self) -> int | None:
        """Number of earlier steps that a prompt showed; None if all, or unknown."""
        found = self.config.get("environments")
        sections = [self.config.get("env"), *(found.values() if isinstance(found, dict) else ())]
        known = [number(section.get("history")) for section in sections if isinstance(section, dict)]
        return next((int(value) for value in known if value is not None), None)

    @property
    def is_training(self) -> bool:
        """Whether this is a training run."""
        return self.path.is_dir() and (self.path / METRICS).is_file()

    def refresh(self) -> bool:
        """Read changed files; return whether there were any."""
        signature = tuple(_stamp(self.path / name) for name in _FILES) if self.path.is_dir() else (_stamp(self.path),)
        if signature == self._signature:
            return False
        self.read_numbers()
        self._read_trajectories()
        self._signature = signature
        return True

    def read_numbers(self) -> None:
        """Read configuration, summary, metrics and outcomes, but no episodes."""
        if self.path.is_dir():
            # Earlier versions wrote more than this one does, and a report is made to be passed on.
            self.config = self._redactor.tree(_read_object(self.path / CONFIG))
            self.summary = self._redactor.tree(_read_object(self.path / SUMMARY))
            self.metrics = read_metrics(self.path / METRICS)
            self.outcomes = read_outcomes(self.path / OUTCOMES)
            if self._publisher is not None:
                self._publisher.learn(self.config, self.summary)
                self.config, self.summary = self._publisher.tree(self.config), self._publisher.tree(self.summary)

    def _last_step(self) -> int | None:
        """Return the number of reinforcement steps that a training run was planned for."""
        section = self.config.get("rl")
        steps = number(section.get("steps")) if isinstance(section, dict) else None
        return None if steps is None else int(steps)

    def _read_trajectories(self) -> None:
        if not self._trajectories.is_file():
            return
        with self._trajectories.open("rb") as lines:
            status = self._trajectories.stat()
            if status.st_size < self._read_to or (self._inode is not None and status.st_ino != self._inode):
                self.episodes, self._read_to, self._number = EpisodeStore(), 0, 0
            self._inode = status.st_ino
            last_step, history = self._last_step(), self.history
            lines.seek(self._read_to)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._number += 1
                try:
                    trajectory = Trajectory.from_json(self._redactor.line(line.decode(errors="replace")))
                except DataError as error:
                    raise DataError(f"{self._trajectories}, line {self._number}: {error}") from None
                if self._publisher is not None:
                    trajectory = self._publisher.trajectory(trajectory)
                self.episodes.add(trajectory, run=self.name, last_step=last_step, history=history)


def _stamp(path: Path) -> tuple[int, int, int]:
    if not path.is_file():
        return (0, 0, 0)
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _read_object(path: Path) -> dict[str, Any]:
    return read_json(path, hint="put the file back, or remove it to leave it out of the report") if path.is_file() else {}
