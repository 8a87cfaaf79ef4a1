"""Recorded episodes as Inspect logs, which `inspect view` opens.

Rules:
    - One log per environment, split and agent. A sample is an episode: its id the task, its epoch the number of the episode of that task.
    - Step entropies are in the metadata of the messages and of the model events, their mean and maximum in that of the score.
    - An episode that failed has an error and no score; a limit that ended one is Inspect's limit of the sample.
    - Model events repeat the conversation of each step. `events=False` leaves them out for runs of long episodes.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from inspect_ai.event import InfoEvent, ModelEvent, ScoreEvent
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalSampleLimit,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score

import empg_gym
from empg_gym.errors import DataError
from empg_gym.registration import short_name
from empg_gym.trajectory import Step, StopReason, Trajectory

Episode = tuple[Trajectory, list[Step]]
SCORES = ("score", "success", "reward")
_LIMITS: dict[StopReason, str] = {
    StopReason.STEP_LIMIT: "turn",
    StopReason.ROW_TOKENS: "token",
    StopReason.RESPONSE_TOKENS: "token",
    StopReason.TIME_LIMIT: "time",
    StopReason.AGENT_STOPPED: "custom",
}
"""Our reason to Inspect's kind of limit."""


def write_logs(episodes: Iterable[Episode], folder: Path, *, events: bool = True, suffix: str = ".eval") -> list[Path]:
    """Write episodes as logs and return the files.

    Args:
        episodes: trajectories, each with all steps of its path.
        folder: where the files are written; `inspect view --log-dir` opens it.
        events: whether each step is also a model event of the transcript.
        suffix: ".eval" (compressed) or ".json".

    Raises:
        DataError: `folder` is a file.
    """
    if folder.is_file():
        raise DataError(f"{folder} is a file; the format inspect writes a folder")
    runs: dict[tuple[str, str, str], list[Episode]] = {}
    for trajectory, path in episodes:
        runs.setdefault((trajectory.env_id, trajectory.split, trajectory.agent), []).append((trajectory, path))
    files = []
    if runs:
        folder.mkdir(parents=True, exist_ok=True)
    for number, ((env_id, _, _), played) in enumerate(runs.items()):
        created = datetime.now(UTC) + timedelta(seconds=number)
        task_id = uuid.uuid4().hex[:22]
        name = f"{created:%Y-%m-%dT%H-%M-%S+00-00}_{short_name(env_id) or 'episodes'}_{task_id}{suffix}"
        write_eval_log(_log(played, created, task_id, events=events), str(folder / name))
        files.append(folder / name)
    return files


def _log(played: Sequence[Episode], created: datetime, task_id: str, *, events: bool) -> EvalLog:
    first = played[0][0]
    epochs: dict[str, int] = {}
    samples = []
    for trajectory, path in played:
        epochs[trajectory.task] = epochs.get(trajectory.task, 0) + 1
        samples.append(_sample(trajectory, path, epochs[trajectory.task], created, events=events))
    usage: dict[str, ModelUsage] = {}
    for sample in samples:
        for model, used in sample.model_usage.items():
            usage[model] = usage[model] + used if model in usage else used
    time = created.isoformat()
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=time,
            task=f"empg_gym/{short_name(first.env_id) or 'episodes'}",
            task_id=task_id,
            run_id=uuid.uuid4().hex[:22],
            eval_id=uuid.uuid4().hex[:22],
            task_version=first.env_version,
            task_args={"env_id": first.env_id, "split": first.split, "dialogue": first.dialogue},
            dataset=EvalDataset(name=f"{first.env_id} {first.split}", samples=len(epochs), sample_ids=list(epochs)),
            model=first.agent or "unknown",
            config=EvalConfig(epochs=max(epochs.values())),
            packages={"empg_gym": empg_gym.__version__},
            metadata={"data_fingerprint": first.data_fingerprint, "env_version": first.env_version},
        ),
        results=_results(samples),
        stats=EvalStats(started_at=time, completed_at=time, model_usage=usage),
        samples=samples,
    )


def _results(samples: Sequence[EvalSample]) -> EvalResults:
    scored = [sample.scores["outcome"].value for sample in samples if sample.scores]
    scores = []
    for name in SCORES:
        values = [float(value[name]) for value in scored]
        metrics = {"mean": EvalMetric(name="mean", value=statistics.fmean(values) if values else 0.0)}
        if len(values) > 1:
            metrics["stderr"] = EvalMetric(name="stderr", value=statistics.stdev(values) / len(values) ** 0.5)
        unscored = len(samples) - len(values)
        scores.append(EvalScore(name=name, scorer="outcome", scored_samples=len(values), unscored_samples=unscored, metrics=metrics))
    return EvalResults(total_samples=len(samples), completed_samples=len(scored), scores=scores)


def _sample(trajectory: Trajectory, path: Sequence[Step], epoch: int, created: datetime, *, events: bool) -> EvalSample:
    model = trajectory.agent or "unknown"
    messages: list[ChatMessage] = [ChatMessageSystem(content=trajectory.system_prompt)] if trajectory.system_prompt else []
    transcript: list[Any] = []
    output = ModelOutput(model=model)
    for step in path:
        messages.append(ChatMessageUser(content=step.observation))
        said, given = _assistant(step, model), list(messages)
        messages.append(said)
        output = ModelOutput(
            model=model, choices=[{"message": said, "stop_reason": "max_tokens" if step.finish_reason == "length" else "stop"}],
            usage=_usage([step]), time=step.model_seconds, metadata=_step_metadata(step),
        )  # fmt: skip
        if events:
            transcript.append(
                ModelEvent(
                    model=model, input=given, tools=[], tool_choice="none", config=GenerateConfig(), output=output, timestamp=created,
                    completed=created, working_time=step.model_seconds,
                )
            )  # fmt: skip
    score = None if trajectory.error is not None or trajectory.stop_reason is StopReason.ERROR else _score(trajectory, path)
    facts = {
        "env_id": trajectory.env_id, "split": trajectory.split, "task_type": trajectory.task_type, "seed": trajectory.seed,
        "stop_reason": None if trajectory.stop_reason is None else str(trajectory.stop_reason), "group": trajectory.group,
        "repeat": trajectory.repeat, "attempts": trajectory.attempts, "final_observation": trajectory.final_observation,
        **trajectory.info,
    }  # fmt: skip
    transcript.append(InfoEvent(source="empg-gym", data=facts, timestamp=created))
    if score is not None:
        transcript.append(ScoreEvent(score=score, target="success", timestamp=created))
    kind = None if trajectory.stop_reason is None else _LIMITS.get(trajectory.stop_reason)
    usage = _usage(path)
    seconds = sum(step.model_seconds + step.env_seconds for step in path)
    failed = {
        "message": trajectory.error or "the episode failed",
        "traceback": str(trajectory.info.get("traceback", "")),
        "traceback_ansi": "",
    }
    return EvalSample(
        id=trajectory.task,
        epoch=epoch,
        input=trajectory.instruction,
        target="success",
        messages=messages,
        output=output,
        scores=None if score is None else {"outcome": score},
        metadata=facts,
        events=transcript,
        model_usage={} if usage is None else {model: usage},
        total_time=seconds,
        working_time=seconds,
        error=failed if score is None else None,
        limit=None if kind is None else EvalSampleLimit(type=kind, limit=float(len(path))),
    )


def _assistant(step: Step, model: str) -> ChatMessageAssistant:
    content: Any = step.response
    if step.thought and step.thought not in step.response:  # a thought that the model gave apart from its text
        content = [ContentReasoning(reasoning=step.thought), ContentText(text=step.response)]
    return ChatMessageAssistant(content=content, model=model, source="generate", metadata=_step_metadata(step))


def _step_metadata(step: Step) -> dict[str, Any]:
    return {
        "action": step.action,
        "reward": step.reward,
        "valid_action": step.valid_action,
        "malformed": step.malformed,
        "entropy": step.entropy,
        "entropy_is_bound": step.entropy_is_bound,
    }


def _score(trajectory: Trajectory, path: Sequence[Step]) -> Score:
    entropies = [step.entropy for step in path if step.entropy is not None]
    return Score(
        value={"score": trajectory.score, "success": float(trajectory.success), "reward": trajectory.total_reward},
        answer=path[-1].action if path else "",
        explanation=None if trajectory.stop_reason is None else str(trajectory.stop_reason),
        metadata={
            "steps": len(path),
            "entropy_mean": statistics.fmean(entropies) if entropies else None,
            "entropy_max": max(entropies, default=None),
        },
    )


def _usage(path: Sequence[Step]) -> ModelUsage | None:
    """Return the tokens of some steps; None where the agent counted none."""
    given = sum(step.prompt_tokens or 0 for step in path)
    written = sum(step.completion_tokens or 0 for step in path)
    if not given and not written:
        return None
    return ModelUsage(input_tokens=given, output_tokens=written, total_tokens=given + written)
