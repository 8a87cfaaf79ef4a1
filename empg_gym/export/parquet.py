"""Episodes as a Parquet data set with a card, and back.

The columns are plain values for analysis and training; `trajectory` has the whole record, from which `read_parquet` restores it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError, require
from empg_gym.runs.atomic_write import atomic_write
from empg_gym.trajectory import Step, Trajectory

FILE = "episodes.parquet"
ROWS_PER_GROUP = 500
"""Episodes in memory at the same time."""
COLUMNS = {
    "env_id": "id of the environment",
    "env_version": "its version",
    "split": "the split of the task",
    "task": "id of the task",
    "task_type": "kind of the task",
    "instruction": "the goal, in words",
    "agent": "the agent",
    "dialogue": "the dialogue format",
    "success": "whether the task was solved",
    "score": "the benchmark's score, 0..1",
    "total_reward": "sum of the rewards",
    "stop_reason": "why the episode ended",
    "error": "why the episode failed, if it did",
    "messages": "the conversation: a list of role and content",
    "actions": "the action of each step",
    "thoughts": "the thought of each step",
    "rewards": "the reward of each step",
    "step_entropies": "mean entropy of the generated tokens of each step, in nats, if known",
    "valid_actions": "whether the environment could carry out each action",
    "trajectory": "the whole record, as empg-gym writes it",
}
"""Column to its meaning."""


def write_parquet(
    episodes: Iterable[tuple[Trajectory, list[Step]]], out: Path, messages_of: Callable[[Trajectory, list[Step]], list[dict[str, str]]]
) -> int:
    """Write episodes and their card to the folder `out`, and return the number of episodes.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        DataError: `out` is a file.
    """
    arrow: Any = require("pyarrow", "parquet", "writing a Parquet file")
    parquet: Any = require("pyarrow.parquet", "parquet", "writing a Parquet file")
    if out.is_file():
        raise DataError(f"{out} is a file; the format parquet writes a folder")
    schema = _schema(arrow)
    unfinished = out / f".{FILE}"
    count = 0
    environments: set[str] = set()
    writer = None
    pending = iter(episodes)
    try:
        while group := [(trajectory, path, messages_of(trajectory, path)) for trajectory, path in islice(pending, ROWS_PER_GROUP)]:
            if writer is None:
                out.mkdir(parents=True, exist_ok=True)
                writer = parquet.ParquetWriter(unfinished, schema)
            writer.write_table(arrow.Table.from_pylist([_row(*item) for item in group], schema=schema))
            environments |= {trajectory.env_id for trajectory, _, _ in group}
            count += len(group)
        if writer is not None:
            writer.close()
            unfinished.replace(out / FILE)
            atomic_write(out / "README.md", _card(count, sorted(environments)))
    finally:
        if writer is not None:
            writer.close()
            unfinished.unlink(missing_ok=True)
    return count


def read_parquet(path: Path) -> Iterator[Trajectory]:
    """Yield the trajectories of a folder (or file) that `write_parquet` wrote.

    Raises:
        DataError: there is no such data set.
        MissingDependencyError: pyarrow is not installed.
    """
    parquet: Any = require("pyarrow.parquet", "parquet", "reading a Parquet file")
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"no data set at {path}: expected a folder with {FILE}, as empg-gym export --format parquet writes it")
    try:
        opened = parquet.ParquetFile(file)
        if "trajectory" not in opened.schema_arrow.names:
            raise DataError(f"{file} has no column 'trajectory': it was not written by empg-gym export")
        for batch in opened.iter_batches(batch_size=ROWS_PER_GROUP, columns=["trajectory"]):
            for line in batch.column(0).to_pylist():
                yield Trajectory.from_json(line)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not a Parquet file, or is damaged ({error})") from None


def _schema(arrow: Any) -> Any:
    text, number, flag = arrow.string(), arrow.float64(), arrow.bool_()
    kinds = {
        "success": flag,
        "score": number,
        "total_reward": number,
        "messages": arrow.list_(arrow.struct([("role", text), ("content", text)])),
        "actions": arrow.list_(text),
        "thoughts": arrow.list_(text),
        "rewards": arrow.list_(number),
        "step_entropies": arrow.list_(number),
        "valid_actions": arrow.list_(flag),
    }
    return arrow.schema([(name, kinds.get(name, text)) for name in COLUMNS])


def _row(trajectory: Trajectory, path: list[Step], messages: list[dict[str, str]]) -> dict[str, Any]:
    row = {
        "messages": messages,
        "actions": [step.action for step in path],
        "thoughts": [step.thought for step in path],
        "rewards": [step.reward for step in path],
        "step_entropies": [step.entropy for step in path],
        "valid_actions": [step.valid_action for step in path],
        "trajectory": trajectory.to_json(),
        "stop_reason": None if trajectory.stop_reason is None else str(trajectory.stop_reason),
    }
    return {name: _clean(row[name] if name in row else getattr(trajectory, name)) for name in COLUMNS}


def _clean(value: Any) -> Any:
    """Replace lone surrogates, which UTF-8 can't hold; the column `trajectory` escapes them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return value


def _card(count: int, environments: list[str]) -> str:
    size = next((f"{low}<n<{high}" if low else f"n<{high}") for low, high, limit in _SIZES if count < limit)
    table = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in COLUMNS.items())
    return f"""---
pretty_name: Agent episodes ({", ".join(environments)})
task_categories:
- text-generation
tags:
- agents
- reinforcement-learning
- empg-gym
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: {FILE}
---

# Agent episodes

{count:,} episodes of {", ".join(environments)}, recorded by EMPG Gym. The column `messages` is the conversational format of TRL's trainers;
`empg_gym.export.read_parquet` restores the trajectories with token ids, log-probabilities and entropies.

| column | meaning |
|---|---|
{table}

The texts of tasks and observations belong to the benchmarks, whose licences apply; the responses are those of the agents named in `agent`.
"""


_SIZES = (("", "1K", 1_000), ("1K", "10K", 10_000), ("10K", "100K", 100_000), ("100K", "1M", 10**6), ("1M", "10M", 10**18))
