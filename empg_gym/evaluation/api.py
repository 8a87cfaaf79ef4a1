"""`evaluate`: any agent on any of the environments, with results on disk that survive a kill.

How episodes are run and counted is in `pool`, which ones in `plan`, what is written where in `folder`, and the numbers in `summary`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from empg_gym.agents import AgentLike, TrainingOrigin, as_agent, label_of, make_agent
from empg_gym.chat_settings import ChatSettings
from empg_gym.dialogue import Dialogue
from empg_gym.errors import ConfigError
from empg_gym.evaluation.environments import find_recipe
from empg_gym.evaluation.run import Run, Watcher
from empg_gym.evaluation.summary import Summary
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id, short_name
from empg_gym.rollout import EnvBackend, Limits, run_sync
from empg_gym.scoring.prices import Prices

_SHOWN = 60
"""Characters of a value that are shown."""


def evaluate(
    envs: str | Sequence[str],
    agent: str | AgentLike,
    *,
    split: str | None = None,
    episodes: int | None = None,
    tasks: Sequence[str | int] | None = None,
    repeats: int = 1,
    concurrency: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    dialogue: str | Dialogue | None = None,
    history: int | None = None,
    show_admissible: bool | None = None,
    system_prompt: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    agent_options: Mapping[str, Any] | None = None,
    agent_name: str | None = None,
    limits: Limits | None = None,
    retries: int = 1,
    backend: EnvBackend | None = None,
    prices: Prices | tuple[float, float] | None = None,
    watch: Watcher | None = None,
) -> Summary:
    """Play episodes of `envs` with `agent` and return what came of them.

    A checkpoint of a training run plays the run's own environment as in training: what is left out here of the conversation (`dialogue`,
    `history`, `show_admissible`, `system_prompt`) and of `env_kwargs` comes from the run. `as_trained` in the results says what that was.
    With a dialogue given here, the run's system prompt is left out, which explains another; with another protocol, its dialogue too.

    Args:
        envs: ids such as "EMPG/ALFWorld-v0" or "alfworld", each with a split behind "@" if wanted ("alfworld@valid_seen").
        agent: the name of an agent (see `make_agent`), an agent, or a function `f(messages)` or `f(messages, tools)` that returns the
            response, with or without `async`.
        split: split of all environments that name none; None takes the held-out one.
        episodes: tasks to draw from the split, without replacement; None runs all of them, or 500 drawn ones of a larger split.
        tasks: ids or indices of the tasks to run.
        repeats: episodes of each task.
        concurrency: episodes under way at once; None leaves it to the agent.
        seed: decides the drawn tasks, the environments' seeds and the agent's.
        out: folder for configuration, trajectories and summary; an earlier run of the same configuration there is gone on with.
        dialogue, history, show_admissible, system_prompt: as of `LLMAgentEnv`; None takes the training run's, else its default.
        env_kwargs: arguments of `gym.make`; `{"WebShop": {...}}` gives some to one environment only.
        agent_options: options of a named agent.
        agent_name: label of an agent that is given as an object, in results.
        limits: when to end an episode besides the environment's own limits.
        retries: further runs of an episode that failed.
        backend: where the environments run; `EnvBackend(name="processes")` gives each a process of its own, with deadlines.
        prices: price of a million prompt tokens and of a million completion tokens.
        watch: is told of every episode.

    Raises:
        ConfigError, TaskError, DataError, MissingDependencyError: something that has to be mended first.
        OutputExistsError: `out` holds something else.
    """
    if repeats < 1 or retries < 0 or (concurrency is not None and concurrency < 1):
        raise ConfigError(f"repeats and concurrency must be at least 1, retries at least 0; got {repeats}, {concurrency} and {retries}")
    player = make_agent(agent, **(agent_options or {})) if isinstance(agent, str) else as_agent(agent)
    info = player.info
    concurrency = concurrency or info.concurrency
    names = [envs] if isinstance(envs, str) else list(envs)
    chat = ChatSettings(
        dialogue=dialogue,
        preferred_dialogue=info.dialogue,
        history=history,
        show_admissible=show_admissible,
        system_prompt=system_prompt,
    )
    limits = limits or Limits(end_on_cut_response=info.end_on_cut_response)
    run = Run(
        player=player,
        label=agent_name or (agent if isinstance(agent, str) else label_of(agent)),
        options=dict(agent_options or {}),
        repeats=repeats,
        seed=seed,
        concurrency=concurrency,
        retries=retries,
        backend=backend or EnvBackend(),
        limits=limits,
        prices=Prices.of(prices),
    )
    try:
        recipes = list(_recipes(names, split, env_kwargs or {}, chat))
        if info.training is not None:
            recipes = [recipe.with_training_defaults(info.training.recipe) for recipe in recipes]
            if callable(note := getattr(watch, "note", None)):
                note(_as_trained(info.training, recipes))
        for recipe in recipes:
            run.add(recipe, tasks, episodes)
        return run_sync(run.play(None if out is None else Path(out), watch))
    finally:
        run.close(made_here=isinstance(agent, str))


def _recipes(names: Sequence[str], split: str | None, kwargs: Mapping[str, Any], chat: ChatSettings) -> Iterator[EnvRecipe]:
    if not names:
        raise ConfigError("no environment named; `empg-gym envs` lists them")
    ids = [find_id(name.partition("@")[0]) for name in names]
    by_env = {
        name: env_id
        for name in kwargs
        for env_id in ids
        if isinstance(kwargs[name], Mapping) and (name == env_id or short_name(name) == short_name(env_id))
    }
    common = {name: value for name, value in kwargs.items() if name not in by_env}
    for name, env_id in zip(names, ids, strict=True):
        own = [kwargs[key] for key, owner in by_env.items() if owner == env_id]
        arguments = {**common, **{key: value for given in own for key, value in given.items()}}
        yield find_recipe(name, split=split, kwargs=arguments, chat=chat)


def _as_trained(training: TrainingOrigin, recipes: Sequence[EnvRecipe]) -> str:
    """Return in a line what the training run decided, in the form in which the command line overrides it."""
    taken = {name: value for recipe in recipes for name, value in recipe.as_trained.items()}
    taken |= {f"agent.{name}": value for name, value in training.options.items()}
    values = ((name, json.dumps(value, ensure_ascii=False)) for name, value in taken.items())
    said = " ".join(f"{name}={text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}" for name, text in values)
    others = ", ".join(dict.fromkeys(recipe.env_id for recipe in recipes if recipe.env_id != training.recipe.env_id))
    elsewhere = f"; in {others}, where it was not trained, only agent.…" if others else ""
    return f"as in the training run {training.folder}: {said or 'nothing, as all is given'}{elsewhere}"
