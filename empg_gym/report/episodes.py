"""Trajectories as the page holds them: an index row per episode for the table, and the whole episodes in compressed chunks.

Rules:
    - The index holds columns, not rows; texts that repeat (environment, split, …) are numbers into a list. So 10,000 episodes take a few
      hundred kilobytes, decoded once when the page opens.
    - Chunks hold `CHUNK` episodes, deflated and in base64; the page inflates a chunk when one of its episodes is opened. Base64 contains no
      character with a meaning in HTML, so no text of an agent or an environment can break out of the page.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from empg_gym.report.detail import detail, rounded
from empg_gym.report.phases import TRAINING, phase_of
from empg_gym.scoring.record import EpisodeRecord, Outcome, record_of
from empg_gym.trajectory import Trajectory

CHUNK = 25
"""Episodes per chunk."""
INSTRUCTION_SHOWN = 200
"""Characters of an instruction that the table holds."""
OUTCOMES = tuple(Outcome)
"""Outcomes in the order of their codes in the index."""
_SAMPLE = 200_000
"""Most entropies that are kept for the scales and the histogram."""
_LABELS = ("run", "env", "split", "type", "phase", "stop", "agent")


class StepEntropy(NamedTuple):
    """The entropy of a recorded step."""

    entropy: float
    """Mean over the step's tokens, in nats."""
    outcome: Outcome
    """Of its episode."""
    phase: str
    """Of a training run; "" elsewhere."""


class EpisodeStore:
    """Collects trajectories one by one and packs them for the page.

    Attributes:
        rows: one dictionary per episode, with the values of the table.
        records: one record per episode, for the scores.
        token_ids: every generated token id of each run, for the vocabularies.
        step_entropies: a bounded sample of entropies of steps.
        token_entropies: a bounded sample of token entropies in nats, for the range of the colour scale.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.records: list[EpisodeRecord] = []
        self.token_ids: dict[str, set[int]] = {}
        self.step_entropies: list[StepEntropy] = []
        self.token_entropies: list[float] = []
        self._packed: list[str] = []
        self._open: list[dict[str, Any]] = []

    def add(self, trajectory: Trajectory, *, run: str = "", last_step: int | None = None, history: int | None = None) -> None:
        """Add one episode.

        Args:
            trajectory: the episode.
            run: name of its run, where a page shows several.
            last_step: reinforcement steps that its training run was planned for; None if unknown.
            history: earlier steps that a prompt showed; None if all.
        """
        if len(self._open) == CHUNK:
            self._packed.append(pack(self._open))
            self._open = []
        record = record_of(trajectory)
        self.records.append(record)
        row = {"run": run, **index_row(trajectory, record, last_step)}
        self.rows.append(row)
        self._open.append(detail(trajectory, history))
        outcome, ids = record.outcome, self.token_ids.setdefault(run, set())
        for step in trajectory.steps:
            if step.response_token_ids is not None:
                ids.update(np.unique(step.response_token_ids).tolist())
            if step.entropy is not None and math.isfinite(step.entropy) and len(self.step_entropies) < _SAMPLE:
                self.step_entropies.append(StepEntropy(step.entropy, outcome, row["phase"]))
            if step.entropies is not None and len(self.token_entropies) < _SAMPLE:
                self.token_entropies.extend(step.entropies[np.isfinite(step.entropies)].tolist())

    def chunk(self, number: int) -> str:
        """Return one packed chunk.

        Raises:
            IndexError: the chunk does not exist.
        """
        if number < 0:
            raise IndexError(number)
        if number < len(self._packed):
            return self._packed[number]
        if number == len(self._packed) and self._open:
            return pack(self._open)
        raise IndexError(number)

    @property
    def num_chunks(self) -> int:
        """Number of chunks, including the one that is not full yet."""
        return len(self._packed) + bool(self._open)

    def index(self) -> dict[str, Any]:
        """Return the columns of the table."""
        columns: dict[str, Any] = {"count": len(self.rows), "chunk": CHUNK, "outcomes": list(OUTCOMES)}
        for name in self.rows[0] if self.rows else ():
            values = [row[name] for row in self.rows]
            if name in _LABELS:
                known = list(dict.fromkeys(values)) if name == "run" else sorted(set(values))
                place = {value: number for number, value in enumerate(known)}
                columns[name] = {"labels": known, "codes": [place[value] for value in values]}
            else:
                columns[name] = values
        return columns

    def step_entropy_top(self) -> float:
        """Upper end of the bars of step entropies in nats: their 99th percentile."""
        values = [step.entropy for step in self.step_entropies]
        return max(1e-3, float(np.quantile(values, 0.99))) if values else 1.0

    def entropy_top(self) -> float:
        """Upper end of the colour scale in nats: the 99th percentile of the token (or step) entropies, rounded up to a tenth."""
        values = self.token_entropies or [step.entropy for step in self.step_entropies]
        return max(0.1, math.ceil(float(np.quantile(values, 0.99)) * 10) / 10) if values else 1.0


def pack(value: Any) -> str:
    """Return a JSON value, deflated and in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # "replace": a lone surrogate, which JSON can carry, has no form in UTF-8
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode("ascii")


def index_row(trajectory: Trajectory, record: EpisodeRecord, last_step: int | None = None) -> dict[str, Any]:
    """Return the table's values for an episode; of a training run, `last_step` is its planned number of steps."""
    update = trajectory.info.get("step") if "phase" in trajectory.info else trajectory.policy_version
    return {
        "outcome": OUTCOMES.index(record.outcome),
        "env": trajectory.env_id,
        "split": trajectory.split,
        "type": record.task_type,
        "phase": (phase := phase_of(trajectory.info, last_step)),
        "stop": record.stop_reason,
        "agent": trajectory.agent,
        "update": update if isinstance(update, int) else None,
        "task": record.task,
        "instruction": trajectory.instruction[:INSTRUCTION_SHOWN],
        "score": rounded(record.score),
        "reward": rounded(record.reward),
        "steps": record.steps,
        "invalid": record.invalid,
        "tokens": record.completion_tokens or 0,
        "prompt": record.prompt_tokens or 0,
        "entropy": rounded(record.entropy),
        "bound": int(record.entropy_is_bound),
        "seconds": rounded(record.model_seconds + record.env_seconds),
        "group": trajectory.group if phase == TRAINING else None,
        "trained": rounded(trajectory.info.get("training_reward")),
        "advantage": _mean_diagnostic(trajectory, "advantage"),
        "modulated": _mean_diagnostic(trajectory, "advantage_modulated"),
        "repeat": record.repeat,
        "attempts": record.attempts,
    }


def _mean_diagnostic(trajectory: Trajectory, name: str) -> float | None:
    """Return the mean of a number over the steps that have it."""
    values = [value for step in trajectory.steps if step.diagnostics and (value := rounded(step.diagnostics.get(name))) is not None]
    return rounded(math.fsum(values) / len(values)) if values else None
