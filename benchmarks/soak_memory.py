"""Memory and open files of one long-lived command, for `benchmarks.soak`: sampled in its process, and the growth from the samples.

Rules:
    - A sample is taken after a garbage collection, every `EPISODES` episodes that are in the run's file.
    - Memory is `RssAnon`: what the process allocated, without files that are mapped.
    - The growth is the slope of a straight line through the samples after the first `WARM_UP` of the episodes, with the 95 % interval of
      least squares.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import math
import os
import resource
import threading
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

from empg_gym.scoring.record import EpisodeRecord, record_of
from empg_gym.trajectory import read_trajectories

EPISODES = 100
WARM_UP = 0.25
POLL_SECONDS = 0.1


class LineCount:
    """The number of complete lines of a growing file, of which only what is new is read."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._lines = path, 0, 0

    def read(self) -> int:
        """Return the number of lines; it starts again from 0 where the file was replaced by a shorter one."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._place:
                    self._place = self._lines = 0
                file.seek(self._place)
                new = file.read()
        except OSError:
            return self._lines
        self._place += len(new)
        self._lines += new.count(b"\n")
        return self._lines


def watch(lines: Path, out: Path) -> None:
    """Sample this process from now on, in a thread; append `[episodes, MB, open files, open sockets]` to `out`."""

    def sample() -> None:
        count, due = LineCount(lines), EPISODES
        while True:
            time.sleep(POLL_SECONDS)
            if (done := count.read()) < due:
                continue
            due = done - done % EPISODES + EPISODES
            gc.collect()
            with out.open("a") as file:
                file.write(json.dumps([done, round(allocated_mb(), 2), *open_files()]) + "\n")

    threading.Thread(target=sample, daemon=True, name="samples").start()


def allocated_mb() -> float:
    """Return the anonymous resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def open_files() -> tuple[int, int]:
    """Return the number of open descriptors of this process, those of sockets apart."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    sockets = sum(link.startswith("socket:") for link in links)
    return len(links) - sockets, sockets


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0


def growth(samples: Sequence[Sequence[float]], column: int) -> dict[str, float]:
    """Return the growth of a column of the samples per 1,000 episodes after the warm-up, with its interval.

    Raises:
        ValueError: there are fewer than ten samples after the warm-up.
    """
    warm = [one for one in samples if one[0] >= WARM_UP * samples[-1][0]]
    if len(warm) < 10:
        raise ValueError(f"at least ten samples are needed after the warm-up, not {len(warm)}")
    xs, ys = [one[0] / 1000 for one in warm], [one[column] for one in warm]
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((one - x) ** 2 for one in xs)
    slope = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread
    rest = math.fsum((b - y - slope * (a - x)) ** 2 for a, b in zip(xs, ys, strict=True))
    half = _t(len(xs) - 2) * math.sqrt(rest / (len(xs) - 2) / spread)
    return {"slope": round(slope, 2), "low": round(slope - half, 2), "high": round(slope + half, 2), "samples": len(xs)}


def records_mb(lines: Path, count: int = 1000) -> float:
    """Return the memory of the records that a run keeps of its first `count` episodes until its summary is written."""
    kept: dict[tuple[str, str, int], EpisodeRecord] = {}
    tracemalloc.start()
    try:
        for trajectory in itertools.islice(read_trajectories(lines), count):
            kept[lines.name, trajectory.task, trajectory.repeat] = record_of(trajectory, lines.name)
        del trajectory
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 2**20
    finally:
        tracemalloc.stop()


def _t(freedom: int) -> float:
    """Return the 97.5 % point of Student's distribution (Abramowitz and Stegun, 26.7.5; within 0.002 from 8 degrees of freedom)."""
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
