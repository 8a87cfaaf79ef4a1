"""One episode as its page shows it, in plain JSON.

Rules:
    - Entropies and log-probabilities are kept to a thousandth of a nat.
    - Entries without content are left out; what strict JSON lacks becomes null or text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from empg_gym.dialogue import DIALOGUES, Plain
from empg_gym.trajectory import FloatArray, IntArray, Step, Trajectory

_ENTROPY = "advantage_entropy"
"""Key of `Step.diagnostics`: the step entropy of the training pass, which the advantage was computed from."""


def detail(trajectory: Trajectory, history: int | None = None) -> dict[str, Any]:
    """Return everything that the page of an episode shows.

    Args:
        trajectory: the episode.
        history: earlier steps that a prompt showed; None if all.
    """
    steps = [_step(step) for step in trajectory.steps]
    # A branch continues steps of another episode, which this record lacks.
    if history is not None and trajectory.parent is None:
        for index, opening in _openings(trajectory, history):
            steps[index]["opening"] = opening
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
        "branch": None if trajectory.parent is None else trajectory.branch_step,
        "history": history,
        "steps": steps,
    }


def _openings(trajectory: Trajectory, history: int) -> Iterator[tuple[int, str]]:
    """Yield the first message of each step's prompt that left earlier steps out, with the index of the step."""
    dialogue = DIALOGUES.get(trajectory.dialogue, Plain)()
    for index in range(history + 1, len(trajectory.steps)):
        left_out = index - history
        yield index, dialogue.resumed(trajectory.instruction, left_out, trajectory.steps[left_out].observation)


def _step(step: Step) -> dict[str, Any]:
    # Beside an advantage, the entropy that it was computed from; the generator's own is shown where the two differ.
    trained = step.diagnostics.get(_ENTROPY)
    entropy = rounded(step.entropy if trained is None else trained)
    record = {
        "observation": step.observation,
        "response": step.response,
        "thought": step.thought,
        "action": step.action,
        "valid": step.valid_action,
        "malformed": step.malformed,
        "reward": rounded(step.reward),
        "admissible": list(step.admissible_actions),
        "ids": _ints(step.response_token_ids),
        "texts": None if step.token_texts is None else list(step.token_texts),
        "entropies": _thousandths(step.entropies),
        "logprobs": _thousandths(step.logprobs),
        "entropy": entropy,
        "rollout_entropy": None if rounded(step.entropy) == entropy else rounded(step.entropy),
        "bound": step.entropy_is_bound and trained is None,
        "row": step.row,
        "finish": step.finish_reason,
        "model": rounded(step.model_seconds),
        "env": rounded(step.env_seconds),
        "error": step.error,
        "diagnostics": {str(name): rounded(value) for name, value in step.diagnostics.items() if name != _ENTROPY},
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


def rounded(value: object) -> float | None:
    """Return a number with six significant digits; None for anything that is not a finite number."""
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
