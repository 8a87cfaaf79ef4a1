"""What a summary needs to know of an episode: small enough to keep of every one."""

from __future__ import annotations

from dataclasses import dataclass

from empg_gym.trajectory import StopReason, Trajectory


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
    prompt_tokens: int | None
    """As billed, summed over the steps; None where no step tells."""
    completion_tokens: int | None
    uncounted_steps: int
    """Steps of which the tokens are not known."""
    model_seconds: float
    env_seconds: float
    entropy: float | None
    """Mean over the steps that have one, in nats."""
    entropy_is_bound: bool
    stop_reason: str
    attempts: int
    error: str | None

    @property
    def failed(self) -> bool:
        """The environment or the agent's server failed: the episode says nothing about the agent."""
        return self.stop_reason == StopReason.ERROR

    @property
    def error_kind(self) -> str:
        """Name of the error's class."""
        return (self.error or "unknown").split(":", 1)[0]


def record_of(trajectory: Trajectory, env: str) -> EpisodeRecord:
    """Return the record of a finished trajectory."""
    steps = trajectory.steps
    prompt = [step.prompt_tokens for step in steps if step.prompt_tokens is not None]
    written = [
        step.completion_tokens
        if step.completion_tokens is not None
        else None
        if step.response_token_ids is None
        else len(step.response_token_ids)
        for step in steps
    ]
    known = [count for count in written if count is not None]
    entropies = [step.entropy for step in steps if step.entropy is not None]
    return EpisodeRecord(
        env=env,
        task=trajectory.task,
        repeat=trajectory.repeat,
        task_type=trajectory.task_type,
        domain=str(trajectory.info.get("domain") or ""),
        success=trajectory.success,
        score=trajectory.score,
        reward=trajectory.total_reward,
        steps=len(steps),
        invalid=sum(not step.valid_action for step in steps),
        malformed=sum(step.malformed for step in steps),
        prompt_tokens=sum(prompt) if prompt else None,
        completion_tokens=sum(known) if known else None,
        uncounted_steps=len(steps) - len(known),
        model_seconds=sum(step.model_seconds for step in steps),
        env_seconds=sum(step.env_seconds for step in steps),
        entropy=sum(entropies) / len(entropies) if entropies else None,
        entropy_is_bound=any(step.entropy_is_bound for step in steps),
        stop_reason=str(trajectory.stop_reason),
        attempts=trajectory.attempts,
        error=trajectory.error,
    )
