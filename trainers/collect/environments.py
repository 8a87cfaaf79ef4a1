"""Environments for the trainer: made from the configuration, whatever benchmark it names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import gymnasium as gym
import numpy as np

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import ConfigError, MissingSplitError, nearest
from empg_gym.registration import make
from empg_gym.rollout import EpisodeSpec
from empg_gym.trainers.config.sections import EnvConfig, TrainConfig

Maker = Callable[[], LLMAgentEnv]


def environment_maker(config: EnvConfig, split: str | None = None) -> Maker:
    """Return what makes new environments of a split (None: the training split).

    Raises:
        ConfigError: an unknown id, from the call that makes the environment also unknown options.
    """
    if config.id not in gym.registry:
        raise ConfigError(f"unknown environment {config.id!r}; {nearest(config.id, [name for name in gym.registry if '/' in name])}")
    arguments = {**config.options, "split": split or config.split}
    arguments |= config.embedded_options if config.data is None else {"data": config.data}
    if config.max_steps is not None:
        arguments["max_steps"] = config.max_steps

    def make_agent_env() -> LLMAgentEnv:
        return LLMAgentEnv(
            make(config.id, **arguments),
            dialogue=config.dialogue,
            history=config.history,
            show_admissible=config.show_admissible,
            system_prompt=config.system_prompt,
        )

    return make_agent_env


def evaluation_environments(config: TrainConfig) -> tuple[dict[str, tuple[Maker, int]], dict[str, str]]:
    """Return each evaluation split's maker and number of tasks, and the splits that the data does not have with the reason.

    Raises:
        MissingSplitError: the data has none of the splits.
        ConfigError: what `environment_maker` raises.
    """
    found: dict[str, tuple[Maker, int]] = {}
    missing: dict[str, str] = {}
    for split in config.eval.splits:
        make_env = environment_maker(config.env, split)
        try:
            with contextlib.closing(make_env()) as env:
                found[split] = make_env, env.text_env.num_tasks
        except MissingSplitError as error:
            missing[split] = str(error)
            if len(missing) == len(config.eval.splits):
                raise
    return found, missing


def check_environments(config: TrainConfig) -> None:
    """Make an environment of the training split and of each evaluation split, as a run would.

    Raises:
        EMPGGymError: what the run would raise.
    """
    environment_maker(config.env)().close()
    evaluation_environments(config)


def training_specs(seed: int, step: int, tasks: int, repeats: int, num_tasks: int) -> list[EpisodeSpec]:
    """Return the episodes of a reinforcement step: `tasks` groups of `repeats`. A function of its arguments alone, so that a resumed
    run draws what it would have drawn."""
    rng = np.random.default_rng([seed, 1, step])
    chosen = rng.choice(num_tasks, size=tasks, replace=num_tasks < tasks)
    seeds = rng.integers(2**31, size=tasks)
    return [
        EpisodeSpec(seed=int(seeds[group]), task=int(chosen[group]), group=group, repeat=repeat)
        for group in range(tasks)
        for repeat in range(repeats)
    ]


def evaluation_specs(seed: int, tasks: int, num_tasks: int) -> list[EpisodeSpec]:
    """Return the fixed episodes of an evaluation, each with a seed of its own; a shorter list is the beginning of a longer one."""
    chosen = np.random.default_rng([seed, 2]).permutation(num_tasks)[:tasks]
    seeds = np.random.default_rng([seed, 3]).integers(2**31, size=len(chosen))
    return [
        EpisodeSpec(seed=int(own), task=int(task), group=position) for position, (task, own) in enumerate(zip(chosen, seeds, strict=True))
    ]
