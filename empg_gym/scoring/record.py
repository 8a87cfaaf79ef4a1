"""What scoring keeps of an episode: numbers alone, small enough to hold thousands of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from empg_gym.trajectory import Step, StopReason, Trajectory


class Outcome(StrEnum):
    """What an episode says about its agent."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The task was not solved: the agent ended it wrongly, gave up or reached a limit."""
    ERROR = "error"
    """The environment or the agent's endpoint failed; never counted as a failure of the agent."""
    UNFINISHED = "unfinished"
    """The episode was recorded before it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """An episode in numbers."""

    env: str
    """Key of the environment's entry in the results."""
    task: str
    repeat: int
    task_type: str
    domain: str
    """`info["domain"]` where the benchmark has it: "in_domain" or "out_of_domain"."""
    success: bool
    score: float
    reward: float
    steps: int
    invalid: int
    """Steps whose action was not valid, malformed responses included."""
    malformed: int
    cut: int
    """Steps whose response was cut at its token limit."""
    prompt_tokens: int | None
    """As billed, summed over the steps; None where no step reports them."""
    completion_tokens: int | None
    """As billed, else as generated; None where no step reports them."""
    uncounted_steps: int
    """Steps whose completion tokens are unknown."""
    model_seconds: float
    env_seconds: float
    entropy: float | None
    """Mean over the steps that have one, in nats."""
    entropy_is_bound: bool
    stop_reason: str
    """A value of `StopReason`; "running" for an unfinished episode."""
    attempts: int
    error: str | None

    outcome: Outcome = field(init=False)
    """What the episode says about its agent; follows from the other fields."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", _outcome(self))

    @property
    def is_scored(self) -> bool:
        """Whether the episode enters rates and means."""
        return self.outcome is Outcome.SUCCESS or self.outcome is Outcome.FAILURE

    @property
    def is_error(self) -> bool:
        """Whether the environment or the agent's endpoint failed."""
        return self.outcome is Outcome.ERROR


_RUNNING = "running"
_LARGEST = 1e15


def _outcome(record: EpisodeRecord) -> Outcome:
    running = record.stop_reason == _RUNNING
    if record.stop_reason == StopReason.ERROR or (running and record.error):
        return Outcome.ERROR
    if record.success:
        return Outcome.SUCCESS
    return Outcome.UNFINISHED if running else Outcome.FAILURE


def record_of(trajectory: Trajectory, env: str = "") -> EpisodeRecord:
    """Return the record of a trajectory.

    Args:
        trajectory: the episode.
        env: key of the environment's entry in the results; "" takes the trajectory's environment id.
    """
    steps = trajectory.steps
    prompt = [step.prompt_tokens for step in steps if step.prompt_tokens is not None]
    completion = [count for step in steps if (count := _completion_tokens(step)) is not None]
    entropies = [step.entropy for step in steps if step.entropy is not None and math.isfinite(step.entropy)]
    return EpisodeRecord(
        env=env or trajectory.env_id,
        task=trajectory.task,
        repeat=trajectory.repeat,
        task_type=trajectory.task_type,
        domain=str(trajectory.info.get("domain") or ""),
        success=trajectory.success,
        score=_bounded(trajectory.score),
        reward=_bounded(trajectory.total_reward),
        steps=len(steps),
        invalid=sum(not step.valid_action for step in steps),
        malformed=sum(step.malformed for step in steps),
        cut=sum(step.finish_reason == "length" for step in steps),
        prompt_tokens=sum(prompt) if prompt else None,
        completion_tokens=sum(completion) if completion else None,
        uncounted_steps=len(steps) - len(completion),
        model_seconds=sum(_bounded(step.model_seconds) for step in steps),
        env_seconds=sum(_bounded(step.env_seconds) for step in steps),
        entropy=sum(entropies) / len(entropies) if entropies else None,
        entropy_is_bound=any(step.entropy_is_bound for step in steps),
        stop_reason=_RUNNING if trajectory.stop_reason is None else str(trajectory.stop_reason),
        attempts=trajectory.attempts,
        error=trajectory.error,
    )


def _bounded(number: float) -> float:
    """Return a number that sums and squares can hold: the file may be somebody else's. What is not a number is 0."""
    return 0.0 if math.isnan(number) else min(max(number, -_LARGEST), _LARGEST)


def _completion_tokens(step: Step) -> int | None:
    if step.completion_tokens is not None:
        return step.completion_tokens
    return None if step.response_token_ids is None else len(step.response_token_ids)
