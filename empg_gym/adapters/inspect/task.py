"""Inspect tasks that drive our environments with the models of Inspect.

The samples are the tasks of a split, so that `--limit`, `--sample-id` and `--epochs` work as with any task. The solver plays one episode in
a thread of its own per step; Inspect's limits end it between steps.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import transcript
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ContentReasoning, ContentText
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.session import Session
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError

_OUTCOME = "empg_gym"
"""Key of the outcome in the store of a sample."""


@solver
def play(dialogue: str | None = None, env_kwargs: dict[str, Any] | None = None) -> Solver:
    """Play the episode that the sample's metadata names.

    Args:
        dialogue: dialogue format; None uses the environment's native protocol, or think-action.
        env_kwargs: further arguments of `gymnasium.make`.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        session = Session(env_kwargs, chat=ChatSettings(dialogue=dialogue))
        try:
            episode = EpisodeTask.from_columns(state.metadata)
            message = await asyncio.to_thread(session.reset, episode)
            system = session.env.system_prompt
            state.messages = [ChatMessageSystem(content=system)] if system else []
            state.messages.append(ChatMessageUser(content=message))
            while not state.completed:
                state = await generate(state)
                if state.completed:  # a limit of Inspect
                    break
                reply = await asyncio.to_thread(session.step, _response(state.output.message))
                step = session.trajectory.steps[-1]
                transcript().info(
                    {"action": step.action, "reward": step.reward, "valid_action": step.valid_action, "malformed": step.malformed},
                    source="empg-gym",
                )
                if reply.done:
                    break
                state.messages.append(ChatMessageUser(content=reply.message))
            trajectory = session.trajectory
            outcome_ = {
                **session.metrics,
                "actions": [step.action for step in trajectory.steps],
                "thoughts": [step.thought for step in trajectory.steps],
                "rewards": [step.reward for step in trajectory.steps],
                "terminated": session.last.terminated,
                "truncated": session.last.truncated,
                "final_observation": trajectory.final_observation,
                "data_fingerprint": trajectory.data_fingerprint,
            }
            state.store.set(_OUTCOME, outcome_)
        finally:
            await asyncio.to_thread(session.close)
        return state

    return solve


def _response(message: ChatMessageAssistant) -> str:
    """Return the response as the model wrote it: Inspect takes `<think>` out of the text."""
    if isinstance(message.content, str):
        return message.content
    parts = []
    for part in message.content:
        if isinstance(part, ContentReasoning):
            parts.append(f"<think>{part.reasoning}</think>")
        elif isinstance(part, ContentText):
            parts.append(part.text)
    return "".join(parts)


@scorer(metrics={"score": [mean(), stderr()], "success": [mean(), stderr()], "reward": [mean(), stderr()]})
def outcome() -> Scorer:
    """Score, success and reward of the episode, as the environment gives them."""

    async def score(state: TaskState, target: Target) -> Score:
        found = state.store.get(_OUTCOME)
        if found is None:
            raise ConfigError("the scorer outcome() reads what the solver play() stores; use both in one task")
        ended = "terminated" if found["terminated"] else "truncated" if found["truncated"] else "stopped"
        return Score(
            value={name: found[name] for name in ("score", "success", "reward")},
            answer=found["actions"][-1] if found["actions"] else "",
            explanation=ended,
            metadata={"steps": found["steps"], "malformed": found["malformed"], "invalid_actions": found["invalid_actions"]},
        )

    return score


@task
def empg(
    env_id: str, split: str = "train", limit: int | None = None, seed: int = 0, dialogue: str | None = None, env_kwargs: Any = None
) -> Task:
    """Any environment.

    Args:
        env_id: registered id, or its short form.
        split: name of the split.
        limit: number of tasks; None takes all.
        seed: seed of the first task; task i has the seed `seed + i`.
        dialogue: dialogue format; None uses the environment's native protocol, or think-action.
        env_kwargs: further arguments of `gymnasium.make`, as a mapping or its JSON text.

    Raises:
        ConfigError: the environment, the split, the dialogue or an argument is unknown.
    """
    kwargs = json.loads(env_kwargs) if isinstance(env_kwargs, str) else dict(env_kwargs or {})
    session = Session(kwargs, chat=ChatSettings(dialogue=dialogue))
    samples = []
    for episode in episode_tasks(env_id, split=split, limit=limit, seed=seed, **kwargs):
        session.reset(episode)
        samples.append(Sample(id=str(episode.task), input=session.trajectory.instruction, target="success", metadata=episode.columns()))
        version = session.trajectory.env_version
    session.close()
    if not samples:
        raise ConfigError(f"there are no tasks to play: split {split!r} of {env_id} with limit={limit}")
    return Task(
        dataset=MemoryDataset(samples, name=f"{env_id} {split}"),
        solver=play(dialogue=dialogue, env_kwargs=kwargs),
        scorer=outcome(),
        version=version,
    )


@task
def alfworld(
    split: str = "valid_seen", limit: int | None = None, seed: int = 0, dialogue: str | None = None, env_kwargs: Any = None
) -> Task:
    """ALFWorld; see `empg`."""
    return empg("alfworld", split, limit, seed, dialogue, env_kwargs)


@task
def webshop(split: str = "valid", limit: int | None = None, seed: int = 0, dialogue: str | None = None, env_kwargs: Any = None) -> Task:
    """WebShop; see `empg`."""
    return empg("webshop", split, limit, seed, dialogue, env_kwargs)


@task
def deepsearch(split: str = "test", limit: int | None = None, seed: int = 0, dialogue: str | None = None, env_kwargs: Any = None) -> Task:
    """Deep Search; see `empg`."""
    return empg("deepsearch", split, limit, seed, dialogue, env_kwargs)
