"""Trajectories as the page holds them: one index row an episode for the table, and the whole episodes in compressed chunks.

Rules:
    - The index is columns, not rows; texts that repeat (environment, split, …) are numbers into a list. So 10,000 episodes are a few
      hundred kilobytes, decoded once when the page opens.
    - Episodes lie in chunks of `CHUNK`, deflated and in base64; the page inflates a chunk when one of its episodes is opened. Base64 has no
      character that means anything in HTML, so no text of an agent or an environment can break out of the page.
    - Entropies and logprobs are kept to a thousandth of a nat.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import Counter
from typing import Any

import numpy as np

from empg_gym.trajectory import FloatArray, IntArray, Step, StopReason, Trajectory

CHUNK = 25
"""Episodes of one chunk."""
INSTRUCTION_SHOWN = 200
"""Characters of an instruction that the table holds."""
ERROR_SHOWN = 500
"""Characters of an error that the overview holds."""
_LABELS = ("env", "split", "type", "phase", "stop", "agent")

OUTCOMES = ("success", "failure", "error", "unfinished")
"""Outcome of an episode; an error is never counted as a failure of the agent."""


def outcome(trajectory: Trajectory) -> int:
    """Return the index into `OUTCOMES`."""
    if trajectory.stop_reason is StopReason.ERROR or (trajectory.error and trajectory.stop_reason is None):
        return 2
    if trajectory.success:
        return 0
    return 3 if trajectory.stop_reason is None else 1


def mean_entropy(trajectory: Trajectory) -> float | None:
    """Return the mean of the step entropies in nats, None where no step has one."""
    values = [step.entropy for step in trajectory.steps if step.entropy is not None and math.isfinite(step.entropy)]
    return sum(values) / len(values) if values else None


class EpisodeStore:
    """Collects trajectories one by one and packs them for the page.

    Attributes:
        rows: one dictionary an episode, with the values of the table.
        errors: text of the error to the number of episodes that failed with it.
        token_ids: every generated token id that an episode shows, for the vocabulary.
        token_entropies: a bounded sample of token entropies, for the range of the colour scale.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.errors: Counter[str] = Counter()
        self.token_ids: set[int] = set()
        self.step_entropies: list[tuple[float, int]] = []
        self.token_entropies: list[float] = []
        self._packed: list[str] = []
        self._open: list[dict[str, Any]] = []

    def add(self, trajectory: Trajectory) -> None:
        """Take in one episode."""
        if len(self._open) == CHUNK:
            self._packed.append(pack(self._open))
            self._open = []
        self.rows.append(index_row(trajectory))
        self._open.append(detail(trajectory))
        result = outcome(trajectory)
        if OUTCOMES[result] == "error":
            self.errors[(trajectory.error or "unknown")[:ERROR_SHOWN]] += 1
        for step in trajectory.steps:
            if step.response_token_ids is not None:
                self.token_ids.update(np.unique(step.response_token_ids).tolist())
            if step.entropy is not None and math.isfinite(step.entropy) and len(self.step_entropies) < 200_000:
                self.step_entropies.append((step.entropy, result))
            if step.entropies is not None and len(self.token_entropies) < 200_000:
                self.token_entropies.extend(step.entropies[np.isfinite(step.entropies)].tolist())

    def chunk(self, number: int) -> str:
        """Return one packed chunk.

        Raises:
            IndexError: no such chunk.
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
        """Number of chunks, the one that is not full included."""
        return len(self._packed) + bool(self._open)

    def index(self) -> dict[str, Any]:
        """Return the columns of the table."""
        columns: dict[str, Any] = {"count": len(self.rows), "chunk": CHUNK, "outcomes": list(OUTCOMES)}
        for name in self.rows[0] if self.rows else ():
            values = [row[name] for row in self.rows]
            if name in _LABELS:
                known = sorted(set(values))
                place = {value: number for number, value in enumerate(known)}
                columns[name] = {"labels": known, "codes": [place[value] for value in values]}
            else:
                columns[name] = values
        return columns

    def step_entropy_top(self) -> float:
        """Upper end of the bars of step entropies in nats: their 99th percentile."""
        values = [value for value, _ in self.step_entropies]
        return max(1e-3, float(np.quantile(values, 0.99))) if values else 1.0

    def entropy_top(self) -> float:
        """Upper end of the colour scale in nats: the 99th percentile of the token (or step) entropies, rounded up to a tenth."""
        values = self.token_entropies or [value for value, _ in self.step_entropies]
        return max(0.1, math.ceil(float(np.quantile(values, 0.99)) * 10) / 10) if values else 1.0


def pack(value: Any) -> str:
    """Return a JSON value, deflated, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # "replace": a lone surrogate, which JSON can carry, has no form in UTF-8
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode("ascii")


def index_row(trajectory: Trajectory) -> dict[str, Any]:
    """Return what the table shows of an episode."""
    steps = trajectory.steps
    update = trajectory.info.get("step") if "phase" in trajectory.info else trajectory.policy_version
    return {
        "outcome": outcome(trajectory),
        "env": trajectory.env_id,
        "split": trajectory.split,
        "type": trajectory.task_type,
        "phase": " ".join(str(trajectory.info[name]) for name in ("phase", "kind") if trajectory.info.get(name)),
        "stop": str(trajectory.stop_reason or "running"),
        "agent": trajectory.agent,
        "update": update if isinstance(update, int) else None,
        "task": trajectory.task,
        "instruction": trajectory.instruction[:INSTRUCTION_SHOWN],
        "score": _rounded(trajectory.score),
        "reward": _rounded(trajectory.total_reward),
        "steps": len(steps),
        "invalid": sum(not step.valid_action for step in steps),
        "tokens": trajectory.num_tokens or sum(step.completion_tokens or 0 for step in steps),
        "prompt": sum(step.prompt_tokens or 0 for step in steps),
        "entropy": _rounded(mean_entropy(trajectory)),
        "bound": int(any(step.entropy_is_bound for step in steps)),
        "seconds": _rounded(sum(step.model_seconds + step.env_seconds for step in steps)),
        "group": trajectory.group,
        "repeat": trajectory.repeat,
        "attempts": trajectory.attempts,
    }


def detail(trajectory: Trajectory) -> dict[str, Any]:
    """Return everything that the page of an episode shows."""
    return {
        "instruction": trajectory.instruction,
        "system": trajectory.system_prompt,
        "final": trajectory.final_observation,
        "error": trajectory.error,
        "seed": trajectory.seed,
        "version": trajectory.env_version,
        "fingerprint": trajectory.data_fingerprint,
        "dialogue": trajectory.dialogue,
        "info": _plain(trajectory.info),
        "steps": [_step(step) for step in trajectory.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    record = {
        "observation": step.observation,
        "response": step.response,
        "thought": step.thought,
        "action": step.action,
        "valid": step.valid_action,
        "malformed": step.malformed,
        "reward": _rounded(step.reward),
        "admissible": list(step.admissible_actions),
        "ids": _ints(step.response_token_ids),
        "entropies": _thousandths(step.entropies),
        "logprobs": _thousandths(step.logprobs),
        "entropy": _rounded(step.entropy),
        "bound": step.entropy_is_bound,
        "row": step.row,
        "finish": step.finish_reason,
        "model": _rounded(step.model_seconds),
        "env": _rounded(step.env_seconds),
        "error": step.error,
        "diagnostics": {str(name): _rounded(value) for name, value in step.diagnostics.items()},
    }
    # Not `in (…, False)`: 0 equals False, and an entropy of 0 is one.
    return {
        name: value
        for name, value in record.items()
        if (value is not False and value not in (None, "", [], {})) or name in ("valid", "reward")
    }


def _ints(values: IntArray | None) -> list[int] | None:
    return None if values is None else values.tolist()


def _thousandths(values: FloatArray | None) -> list[int | None] | None:
    """Whole thousandths; null for a value that is not a number (a token that a backend gave none for)."""
    if values is None:
        return None
    known = np.isfinite(values)
    whole: list[int | None] = np.rint(np.where(known, values, 0.0).astype(np.float64) * 1000).astype(np.int64).tolist()
    if not known.all():
        return [value if there else None for value, there in zip(whole, known.tolist(), strict=True)]
    return whole


def _rounded(value: object) -> float | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _plain(value: Any) -> Any:
    """Replace what strict JSON can't hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
