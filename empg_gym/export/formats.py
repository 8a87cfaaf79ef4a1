"""Export of recorded episodes.

    messages   JSON lines: the conversation as sent and answered, with task, success, score and rewards
    sft        JSON lines of {"messages": […]}, the conversational format of TRL's SFTTrainer and others: solved episodes only
    inspect    a folder of logs that `inspect view` opens; see `empg_gym.adapters.inspect` (needs the extra `inspect`)
    parquet    a folder with episodes.parquet and a dataset card, which `datasets.load_dataset` reads; see `empg_gym.export.parquet`

Rules:
    - A conversation is the whole episode: the prompts of an agent with a limited history showed less of it.
    - The conversation of a branched episode begins with the steps that it shares with its parent.
    - Episodes that failed with an error are in no `sft` file; in the others their error is given.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, DataError, nearest
from empg_gym.runs.atomic_write import atomic_write
from empg_gym.trajectory import Step, Trajectory, path_of, read_trajectories

EPISODES = "trajectories.jsonl"


def messages_of(trajectory: Trajectory, path: Sequence[Step]) -> list[dict[str, str]]:
    """Return the conversation of an episode whose steps, those shared with a parent included, are `path`."""
    return dataclasses.replace(trajectory, steps=list(path)).to_messages()


def conversations(runs: Iterable[Path]) -> Iterator[tuple[Trajectory, list[Step]]]:
    """Yield the episodes of runs, each with all steps of its path.

    Args:
        runs: run folders or files of trajectories (JSON lines).

    Raises:
        DataError: a file is missing or damaged.
    """
    for run in runs:
        file = run / EPISODES if run.is_dir() else run
        if not file.is_file():
            raise DataError(f"no episodes at {file}: expected a folder that empg-gym train or eval wrote, or a file of trajectories")
        family: list[Trajectory] | None = None
        for trajectory in read_trajectories(file):
            if trajectory.parent is not None and family is None:
                family = list(read_trajectories(file))
            yield trajectory, path_of(trajectory, family or ())


def export(runs: Sequence[Path], out: Path, *, format: str) -> int:
    """Write the episodes of runs in another format, and return their number.

    Args:
        runs: run folders or files of trajectories.
        out: the file to write; for "parquet" and "inspect" a folder.
        format: "messages", "sft", "parquet" or "inspect".

    Raises:
        ConfigError: the format is unknown.
        DataError: a file is missing or damaged, or no episode is left.
        MissingDependencyError: the format is "parquet" and pyarrow is not installed, or it is "inspect" and Inspect AI is not.
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}; {nearest(format, FORMATS)}")
    count = FORMATS[format](conversations(runs), out)
    if not count:
        kind = "solved episodes" if format == "sft" else "episodes"
        raise DataError(f"there are no {kind} in {', '.join(map(str, runs))}: nothing was written")
    return count


def _messages(trajectory: Trajectory, path: list[Step]) -> dict[str, Any] | None:
    return {
        "env_id": trajectory.env_id,
        "split": trajectory.split,
        "task": trajectory.task,
        "seed": trajectory.seed,
        "agent": trajectory.agent,
        "success": trajectory.success,
        "score": trajectory.score,
        "rewards": [step.reward for step in path],
        "stop_reason": trajectory.stop_reason,
        "error": trajectory.error,
        "messages": messages_of(trajectory, path),
        "final_observation": trajectory.final_observation,
    }


def _sft(trajectory: Trajectory, path: list[Step]) -> dict[str, Any] | None:
    if not trajectory.success or trajectory.error is not None or not path:
        return None
    return {"messages": messages_of(trajectory, path)}


Record = Callable[[Trajectory, list[Step]], dict[str, Any] | None]


def _json_lines(record: Record) -> Callable[[Iterable[tuple[Trajectory, list[Step]]], Path], int]:
    def write(episodes: Iterable[tuple[Trajectory, list[Step]]], out: Path) -> int:
        lines = [json.dumps(line, ensure_ascii=False) for trajectory, path in episodes if (line := record(trajectory, path)) is not None]
        if lines:
            out.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(out, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        return len(lines)

    return write


def _parquet(episodes: Iterable[tuple[Trajectory, list[Step]]], out: Path) -> int:
    from empg_gym.export.parquet import write_parquet

    return write_parquet(episodes, out, messages_of)


def _inspect(episodes: Iterable[tuple[Trajectory, list[Step]]], out: Path) -> int:
    from empg_gym.adapters.inspect import write_logs

    played = list(episodes)
    write_logs(played, out)
    return len(played)


FORMATS: dict[str, Callable[[Iterable[tuple[Trajectory, list[Step]]], Path], int]] = {
    "messages": _json_lines(_messages),
    "sft": _json_lines(_sft),
    "parquet": _parquet,
    "inspect": _inspect,
}
"""Format to the function that writes it and returns the number of episodes."""
