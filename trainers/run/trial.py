"""`--dry-run`: a training step without a model, to find what would fail in hours.

Rules:
    - Episodes are played as in the run: its task source, rollout plan, environments and dialogue. Scripted responses replace the model's:
      the expert's, a random agent's, or a look around where neither can act. Their log-probabilities and entropies are made up.
    - Reward, filters, shapers, advantage, aggregation and policy loss then see a batch of these episodes, whose results are checked as in
      the run. Where the filters leave nothing, the rest sees the unfiltered batch.
    - The warm start reads its recorded episodes, or asks the expert.
    - What needs a model, or calls a network, is not tried; `Trial.unchecked` lists it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents import BaseAgent
from empg_gym.agents.base import Agent, Message
from empg_gym.agents.scripted import ExpertAgent, RandomAgent
from empg_gym.errors import ConfigError
from empg_gym.rollout import Limits
from empg_gym.trainers.algorithms import Advantages, PolicyTokens, advantage_needs, needs_of
from empg_gym.trainers.collect.demonstrations import demonstrate, no_expert
from empg_gym.trainers.collect.plans import Collection
from empg_gym.trainers.collect.recordings import read_recordings
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.aggregation import token_weights
from empg_gym.trainers.data.batch import RolloutBatch, make_batch, require_episodes
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trainers.run.collecting import build_collector
from empg_gym.trainers.run.cost import Characters, local_tokenizer
from empg_gym.trainers.run.iteration import check_finite
from empg_gym.trainers.run.stages import Stages
from empg_gym.trajectory import Completion

GROUPS, REPEATS, STEPS = 2, 4, 12
"""Size of the trial: groups, episodes per group, and steps after which a random agent leaves."""
SAMPLED_PLANS = ("groups", "dynamic")
"""Plans that work with any number of repeats."""
DEMONSTRATIONS = 4
"""Tasks for which the expert is asked."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of a trial."""

    findings: list[str]
    """What was tried, one line each."""
    unchecked: list[str]
    """What was not."""


def try_step(config: TrainConfig, stages: Stages) -> Trial:
    """Try the warm start's data and a training step.

    Raises:
        EMPGGymError: any error that the run would raise.
    """
    findings: list[str] = []
    unchecked = _needs_a_model(config, stages)
    with contextlib.closing(config.env.recipe().make()) as env:
        does_io = env.text_env.does_io
        if config.warmstart.steps:
            if config.warmstart.trajectories:
                findings.append(f"Warm start: {read_recordings(config, env).summary}.")
            elif not does_io:
                _require_expert(config, env)
    if does_io:
        unchecked.insert(0, "episodes, rewards and advantages (the environment calls a network or a browser)")
    elif config.rl.steps:
        findings.append(_try(config, stages))
    return Trial(findings, unchecked)


def _require_expert(config: TrainConfig, env: LLMAgentEnv) -> None:
    if not any(demonstrate(env, index, seed=config.run.seed, detours=0.0).steps for index in range(DEMONSTRATIONS)):
        raise no_expert(env)


def _try(config: TrainConfig, stages: Stages) -> str:
    """Play, score and weigh a small batch; return one line about it."""
    rl = config.rl
    repeats = min(rl.repeats, REPEATS) if config.algorithm.plan in SAMPLED_PLANS else rl.repeats
    small = config.model_copy(update={"rl": rl.model_copy(update={"tasks_per_step": min(rl.tasks_per_step, GROUPS), "repeats": repeats})})
    tokenizer: Any = local_tokenizer(config.model) or Characters()
    codec = ChatCodec(tokenizer)
    with contextlib.closing(build_collector(small, stages, _ScriptedPolicy(codec), None, limits=Limits())) as collector:
        collection = collector.collect(0)
    require_episodes([*collection.trajectories, *collection.discarded], "the trial")
    batch = _batch(config, stages, collection)
    needs_gold = "gold_logprobs" in advantage_needs(config.algorithm.advantage, config.algorithm.advantage_options)
    gold = torch.full((len(batch.step),), -1.0, dtype=torch.float64) if needs_gold else None
    steps = batch.steps(batch.rollout_entropies, state_key=config.algorithm.state_key, gold_logprobs=gold)
    advantages: Advantages = stages.advantage(steps)
    check_finite(batch, advantages)
    _try_loss(config, stages, batch, advantages)
    return (
        f"Trial: {len(batch.trajectories)} episodes of the expert and a random agent, rewards {_span(batch.rewards)}, "
        f"advantages {_span(advantages.values)}."
    )


def _batch(config: TrainConfig, stages: Stages, collection: Collection) -> RolloutBatch:
    make = partial(
        make_batch,
        collection.trajectories,
        stages.reward,
        shapers=stages.shapers,
        reward_scale=config.rl.reward_scale,
        invalid_action_penalty=config.rl.invalid_action_penalty,
    )
    batch = make(filters=stages.filters)
    return batch if len(batch.step_of_token) else make()


def _try_loss(config: TrainConfig, stages: Stages, batch: RolloutBatch, advantages: Advantages) -> None:
    """Compute the policy loss and its gradient.

    Raises:
        ConfigError: one of them is not finite.
    """
    old = batch.rollout_logprobs
    logprobs = (old - 0.01).requires_grad_()
    needs = needs_of(stages.policy_loss.function)
    tokens = PolicyTokens(
        logprobs=logprobs,
        old_logprobs=old,
        advantages=advantages.values[batch.step_of_token].float(),
        weights=token_weights(batch.trajectory_of_step[batch.step_of_token], stages.aggregation, config.rollout.max_row_tokens),
        row=batch.row_of_token,
        step=batch.step_of_token,
        entropies=batch.rollout_entropies if "entropies" in needs else None,
        old_entropies=batch.rollout_entropies,
    )
    if not tokens.weights.isfinite().all():
        raise ConfigError(f"rl.aggregation: {stages.aggregation.name!r} gives weights that are not finite")
    loss = stages.policy_loss(tokens).loss
    if not loss.requires_grad:
        raise ConfigError(f"algorithm.policy_loss: the loss of {stages.policy_loss.name!r} does not depend on PolicyTokens.logprobs")
    loss.backward()
    if not loss.isfinite() or logprobs.grad is None or not logprobs.grad.isfinite().all():
        raise ConfigError(f"algorithm.policy_loss: the loss of {stages.policy_loss.name!r}, or its gradient, is not finite")


def _needs_a_model(config: TrainConfig, stages: Stages) -> list[str]:
    """Return what only a run with the model finds out."""
    model, found = config.model, []
    if model.name is not None:
        found.append(f"whether {model.name} loads")
        if local_tokenizer(model) is None:
            found.append("its tokenizer and chat template (not on this machine)")
    if config.rollout.backend != "hf":
        found.append(f"whether the generator backend {config.rollout.backend} starts")
    own = [stage for stage in (stages.scorer, stages.updater, stages.optimizer) if ":" in stage.name]
    found += [f"the {stage.kind} {stage.name}" for stage in own]
    return [*found, "whether the policy learns", "the time and the disk space of the run"]


def _span(values: torch.Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"all {low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


class _ScriptedPolicy(BaseAgent):
    """The expert in half of the sessions, a random agent in the others."""

    def __init__(self, codec: ChatCodec) -> None:
        self._codec = codec

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return _ScriptedSession(env, self._codec, seed)


class _ScriptedSession:
    """Scripted responses as tokens with made-up log-probabilities and entropies."""

    def __init__(self, env: LLMAgentEnv, codec: ChatCodec, seed: int) -> None:
        self._env, self._row = env, ChatRow.of_steps(codec, env.path)
        self._expert, self._random = ExpertAgent().session(env, seed), RandomAgent().session(env, seed)
        self._rng = np.random.default_rng(seed)
        self._is_expert = bool(self._rng.random() < 0.5)

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        reply = self._reply(messages)
        if reply.stop:
            return reply
        prompt, new_row = self._row.prompt(messages)
        ids = self._row.codec.encode_response(reply.text)
        self._row.respond(ids)
        return Completion(
            text=reply.text,
            prompt_token_ids=np.array(prompt, np.int32),
            token_ids=np.array(ids, np.int32),
            logprobs=-self._rng.exponential(0.5, len(ids)).astype(np.float32),
            entropies=self._rng.uniform(0.05, 2.0, len(ids)).astype(np.float32),
            new_row=new_row,
            policy_version=0,
        )

    def _reply(self, messages: Sequence[Message]) -> Completion:
        """Return what the expert says; else, for some steps, what the random agent says, or an action that any agent might try."""
        if self._is_expert and not (reply := _completion(self._expert, messages)).stop:
            return reply
        if len(self._env.path) >= STEPS:
            return Completion(text="", stop=True)
        reply = _completion(self._random, messages)
        return Completion(text=self._env.dialogue.render("", "look")) if reply.stop else reply


def _completion(agent: Agent, messages: Sequence[Message]) -> Completion:
    reply = agent.act(messages)
    assert isinstance(reply, Completion)
    return reply
