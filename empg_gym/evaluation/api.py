"""`evaluate`: any agent on any of the environments, with results on disk that survive a kill.

How episodes are run and counted is in `pool`, which ones in `plan`, what is written where in `folder`, and the numbers in `summary`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from empg_gym.agents import Agent, Reply, SessionAgent, make_agent
from empg_gym.agents.python_object import as_agent
from empg_gym.agents.training_run import TrainingRun
from empg_gym.dialogue import Dialogue
from empg_gym.errors import ConfigError
from empg_gym.evaluation.environments import Conversation, Source, find_source
from empg_gym.evaluation.run import Run, Watcher
from empg_gym.evaluation.summary import Summary
from empg_gym.rollout import Limits, run_sync
from empg_gym.scoring.prices import Prices

_CONCURRENCY = 32
_SHOWN = 60
"""Characters of a value that are shown."""


def evaluate(
    envs: str | Sequence[str],
    agent: str | Agent | SessionAgent | Callable[..., Reply | Awaitable[Reply]],
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
        prices: price of a million prompt tokens and of a million completion tokens.
        watch: is told of every episode.

    Raises:
        ConfigError, TaskError, DataError, MissingDependencyError: something that has to be mended first.
        OutputExistsError: `out` holds something else.
    """
    if repeats < 1 or retries < 0 or (concurrency is not None and concurrency < 1):
        raise ConfigError(f"repeats and concurrency must be at least 1, retries at least 0; got {repeats}, {concurrency} and {retries}")
    player = make_agent(agent, **(agent_options or {})) if isinstance(agent, str) else as_agent(agent)
    concurrency = concurrency or int(getattr(player, "preferred_concurrency", _CONCURRENCY))
    if concurrency < 1:
        raise ConfigError(f"the agent's preferred_concurrency must be at least 1, not {concurrency}")
    names = [envs] if isinstance(envs, str) else list(envs)
    own = getattr(player, "dialogue", None)
    talk = Conversation(
        dialogue=dialogue,
        preferred=own if isinstance(own, Dialogue) else None,
        history=history,
        show_admissible=show_admissible,
        system_prompt=system_prompt,
    )
    limits = limits or Limits(end_on_cut_response=bool(getattr(player, "end_on_cut_response", True)))
    run = Run(
        player=player,
        label=agent_name or (agent if isinstance(agent, str) else str(getattr(agent, "__qualname__", type(agent).__qualname__))),
        options=dict(agent_options or {}),
        repeats=repeats,
        seed=seed,
        concurrency=concurrency,
        retries=retries,
        limits=limits,
        prices=Prices.of(prices),
    )
    try:
        trained = getattr(player, "training_run", None)
        sources = list(_sources(names, split, env_kwargs or {}, talk))
        if trained is not None:
            sources = [source.played_as(trained) for source in sources]
            if callable(note := getattr(watch, "note", None)):
                note(_as_trained(trained, sources, getattr(player, "as_trained", {})))
        for source in sources:
            run.add(source, tasks, episodes)
        return run_sync(run.play(None if out is None else Path(out), watch))
    finally:
        run.close(made_here=isinstance(agent, str))


def _sources(names: Sequence[str], split: str | None, kwargs: Mapping[str, Any], talk: Conversation) -> Iterator[Source]:
    if not names:
        raise ConfigError("no environment named; `empg-gym envs` lists them")
    plain = [find_source(name, split=split, kwargs={}, conversation=talk) for name in names]
    by_env = {name: source.env_id for name in kwargs for source in plain if isinstance(kwargs[name], Mapping) and source.is_named(name)}
    common = {name: value for name, value in kwargs.items() if name not in by_env}
    for name, source in zip(names, plain, strict=True):
        own = [kwargs[key] for key, env_id in by_env.items() if env_id == source.env_id]
        yield find_source(
            name, split=split, kwargs={**common, **{key: value for given in own for key, value in given.items()}}, conversation=talk
        )


def _as_trained(run: TrainingRun, sources: Sequence[Source], of_agent: Mapping[str, Any]) -> str:
    """Return in a line what the training run decided, in the form in which the command line overrides it."""
    taken = {name: value for source in sources for name, value in source.as_trained.items()}
    taken |= {f"agent.{name}": value for name, value in of_agent.items()}
    values = ((name, json.dumps(value, ensure_ascii=False)) for name, value in taken.items())
    said = " ".join(f"{name}={text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}" for name, text in values)
    others = ", ".join(dict.fromkeys(source.env_id for source in sources if source.env_id != run.env_id))
    elsewhere = f"; in {others}, where it was not trained, only agent.…" if others else ""
    return f"as in the training run {run.folder}: {said or 'nothing, as all is given'}{elsewhere}"
