"""Expert episodes as token rows, built by the same code as the rows of rollouts.

Rules:
    - Episode i is a function of (configuration, i): its task, its detours and its row do not depend on the other episodes.
    - A detour is a random action in place of the expert's, drawn from all actions that were admissible so far in the episode. Some of them
      are no longer valid: a policy must learn to recover from its mistakes. The row contains the detour and its result, but the step's
      diagnostics mark it, and `supervised_rows` excludes it from the loss.
    - If the expert has no action, the episode ends unsolved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import DataError
from empg_gym.rng import Stream, stream
from empg_gym.trainers.config.sections import WarmStartConfig
from empg_gym.trainers.data.rows import TokenRow, rows_of
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trajectory import Completion, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DETOUR = "detour"
"""Key in `Step.diagnostics` of a step whose action was not the expert's."""


def draw_task(env: LLMAgentEnv, rng: np.random.Generator, weights: Mapping[str, float]) -> tuple[int, int]:
    """Reset the environment to a random task and return (seed, index of the task).

    Args:
        env: the environment.
        rng: the source of randomness.
        weights: of task types, relative to 1 for those that are not named.
    """
    largest = max([1.0, *weights.values()])
    while True:
        seed, task = int(rng.integers(2**31)), int(rng.integers(env.text_env.num_tasks))
        env.reset(seed=seed, options={"task": task})
        if not weights or rng.random() * largest < weights.get(env.text_env.task_type, 1.0):
            return seed, task


def expert_response(env: LLMAgentEnv, action: str, *, thoughts: bool) -> str:
    """Return the response with an action, preceded by the expert's thought if `thoughts` is set and the expert has one."""
    return env.dialogue.render(env.text_env.expert_thought() if thoughts else "", action)


def demonstrate(
    env: LLMAgentEnv,
    index: int,
    *,
    seed: int,
    detours: float,
    thoughts: bool = False,
    tokenizer: PreTrainedTokenizerBase | ChatCodec | None = None,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> Trajectory:
    """Run expert episode `index`; with a tokenizer its steps have token ids. `weights` are those of `draw_task`."""
    rng = stream(seed, Stream.DEMONSTRATIONS, index)
    draw_task(env, rng, weights)
    row = None if tokenizer is None else ChatRow(tokenizer)
    known: dict[str, None] = {}
    over = False
    while not over:
        action = env.text_env.expert()
        if action is None:
            break
        known |= dict.fromkeys(env.admissible_actions)
        detour = bool(known) and rng.random() < detours
        if detour:
            action = str(rng.choice(list(known)))
        text = expert_response(env, action, thoughts=thoughts)
        _, _, terminated, truncated, _ = env.step(_completion(row, env, text))
        if detour:
            env.trajectory.steps[-1].diagnostics[DETOUR] = 1.0
        over = terminated or truncated
    return env.trajectory


def demonstrations(env: LLMAgentEnv, tokenizer: PreTrainedTokenizerBase, config: WarmStartConfig, seed: int) -> Iterator[Trajectory]:
    """Yield the expert episodes of a warm start, except those that it excludes.

    Raises:
        DataError: no episode is left.
    """
    codec = ChatCodec(tokenizer)
    found = acted = False
    for index in range(config.episodes):
        trajectory = demonstrate(
            env, index, seed=seed, detours=config.detours, thoughts=config.thoughts, tokenizer=codec, weights=config.task_weights
        )
        acted = acted or bool(trajectory.steps)
        if trajectory.steps and (trajectory.success or not config.only_solved):
            found = True
            yield trajectory
    if not acted:
        raise no_expert(env)
    if not found:
        raise DataError(
            f"the expert solved none of {config.episodes} episodes of {env.text_env.benchmark}; raise env.max_steps, or check env.data"
        )


def no_expert(env: LLMAgentEnv) -> DataError:
    """Return the error of a warm start in an environment whose expert never acts."""
    return DataError(
        f"{env.text_env.benchmark} has no expert to learn from: give recorded episodes (warmstart.trajectories), or skip the warm start "
        "(warmstart.steps=0) and begin with a model that can act (model.name)"
    )


def tokenizer_texts(env: LLMAgentEnv, episodes: int, *, seed: int, detours: float, thoughts: bool = False) -> Iterator[str]:
    """Yield the texts of expert episodes, to train a tokenizer on: prompts, observations, responses and admissible actions."""
    for index in range(episodes):
        trajectory = demonstrate(env, index, seed=seed, detours=detours, thoughts=thoughts)
        yield from (trajectory.system_prompt, trajectory.final_observation)
        for step in trajectory.steps:
            yield step.observation
            yield step.response
            yield from step.admissible_actions


def supervised_rows(trajectories: Sequence[Trajectory], observation_weight: float = 0.0) -> tuple[list[TokenRow], Tensor]:
    """Return the rows of expert episodes and [N] the weight of each token in the supervised loss.

    Before normalisation, the expert's tokens have weight 1, those of detours 0 and those that are read `observation_weight`; if it is above
    0, the rows mark all tokens but the first as generated. The weights add up to 1.
    """
    rows = [row for position, trajectory in enumerate(trajectories) for row in rows_of(trajectory, position)]
    parts = []
    for index, row in enumerate(rows):
        learned = torch.tensor([DETOUR not in step.diagnostics for step in trajectories[row.trajectory].steps])[row.step].float()
        weight = torch.where(row.generated, learned, observation_weight)
        if observation_weight > 0:
            rows[index] = row = dataclasses.replace(row, generated=torch.arange(len(row)) > 0)
        parts.append(weight[row.generated])
    weights = torch.cat(parts)
    return rows, weights / weights.sum().clamp(min=1.0)


def _completion(row: ChatRow | None, env: LLMAgentEnv, text: str) -> Completion:
    if row is None:
        return Completion(text=text)
    prompt, new_row = row.prompt(env.messages)
    response = row.codec.encode_response(text)
    row.respond(response)
    return Completion(text=text, prompt_token_ids=np.array(prompt, np.int32), token_ids=np.array(response, np.int32), new_row=new_row)
