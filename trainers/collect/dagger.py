"""Episodes of a policy that an expert accompanies, to learn from the states that the policy reaches (DAgger, Ross et al. 2011).

Rules:
    - At each step a coin decides who acts: with probability `warmstart.dagger_policy` the policy, otherwise the expert.
    - The policy learns from the expert's steps. A step of the policy that is not what the expert would have done is a detour
      (`empg_gym.trainers.collect.demonstrations`): the row contains it and its result, but the loss excludes it.
    - An episode ends where the expert has no action.
    - The episodes of a few consecutive steps, a block, are played together, which takes less time, by the weights at the first of them.
      They are a function of (seed, step) and these weights: a run can resume between blocks only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.base import BaseAgent, Message
from empg_gym.rng import Stream, stream
from empg_gym.rollout import EpisodeSpec, Limits, Rollout
from empg_gym.trainers.collect.demonstrations import DETOUR, draw_task, expert_response, no_expert
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import has_outcome, require_episodes
from empg_gym.trainers.generate.base import Generator, GeneratorSession
from empg_gym.trajectory import Completion, Trajectory

_BLOCK = 5
"""Steps of a block, which begins at a multiple of it (the first one may begin later)."""


class DaggerEpisodes:
    """Plays the episodes of the warm start's last steps.

    Args:
        config: the whole configuration.
        generator: of the policy.
        publish: passes the policy's weights to the generator.
    """

    def __init__(self, config: TrainConfig, generator: Generator, publish: Callable[[], None]) -> None:
        recipe, settings = config.env.recipe(), config.rollout
        self._seed, self._count = config.run.seed, config.warmstart.episodes_per_step
        self._steps = config.warmstart.steps
        self._ready: dict[int, list[Trajectory]] = {}
        self._weights = config.warmstart.task_weights
        self._env = recipe.make()
        self._publish = publish
        self._rollout = Rollout(
            recipe,
            AccompaniedPolicy(generator, config.warmstart.dagger_policy, thoughts=config.warmstart.thoughts),
            limits=Limits(max_row_tokens=settings.max_row_tokens),
            concurrency=settings.concurrency,
            retries=settings.retries,
            backend=settings.environments(),
        )

    def play(self, step: int) -> list[Trajectory]:
        """Return the episodes of step `step`, counted from 0.

        Raises:
            TrainingError: all episodes failed.
            DataError: the environment has no expert.
        """
        if step not in self._ready:
            self._ready = self._play(range(step, min((step // _BLOCK + 1) * _BLOCK, self._steps)))
        return self._ready.pop(step)

    def _play(self, steps: range) -> dict[int, list[Trajectory]]:
        """Play the episodes of consecutive steps."""
        self._publish()
        played = self._rollout.run([spec for step in steps for spec in self._specs(step)])
        found = {}
        for place, step in enumerate(steps):
            own = played[place * self._count : (place + 1) * self._count]
            require_episodes(own, f"warm-start step {step + 1}")
            found[step] = [trajectory for trajectory in own if has_outcome(trajectory) and trajectory.steps]
            if not found[step]:
                raise no_expert(self._env)
        return found

    def _specs(self, step: int) -> list[EpisodeSpec]:
        rng = stream(self._seed, Stream.DAGGER_TASKS, step)
        drawn = [draw_task(self._env, rng, self._weights) for _ in range(self._count)]
        return [EpisodeSpec(seed=seed, task=task) for seed, task in drawn]

    @property
    def is_between_blocks(self) -> bool:
        """Whether all episodes that were played have been returned."""
        return not self._ready

    def close(self) -> None:
        """Close the environments."""
        self._env.close()
        self._rollout.close()


class AccompaniedPolicy(BaseAgent):
    """An agent that acts for the policy or for the expert.

    Args:
        generator: of the policy.
        share: share of the steps that the policy takes.
        thoughts: whether the expert's responses contain its thoughts.
    """

    def __init__(self, generator: Generator, share: float, *, thoughts: bool = False) -> None:
        self._generator, self._share, self._thoughts = generator, share, thoughts

    def session(self, env: LLMAgentEnv, seed: int) -> _Session:
        return _Session(env, self._generator.session(env, seed), np.random.default_rng(seed), self._share, self._thoughts)


class _Session:
    def __init__(self, env: LLMAgentEnv, policy: GeneratorSession, rng: np.random.Generator, share: float, thoughts: bool) -> None:
        self._env, self._policy, self._rng, self._share, self._thoughts = env, policy, rng, share, thoughts
        self._wanted = ""
        """The expert's response where the last action was asked for."""
        self._at = 0
        """Number of the step that this action was asked for; there is no such step if the policy could not answer."""

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        self._mark()
        action = self._env.text_env.expert()
        if action is None:
            return Completion(text="", stop=True)
        self._wanted = expert_response(self._env, action, thoughts=self._thoughts)
        self._at = len(self._env.trajectory.steps)
        if self._rng.random() < self._share:
            return await self._policy.act(messages, tools=tools)
        return self._policy.follow(messages, self._wanted)

    def close(self) -> None:
        self._mark()
        self._policy.close()

    def _mark(self) -> None:
        """Mark the last step if the expert would have acted otherwise."""
        taken = self._env.trajectory.steps[self._at :]
        if taken and taken[0].response != self._wanted:
            taken[0].diagnostics[DETOUR] = 1.0
