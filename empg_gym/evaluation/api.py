"""`evaluate`: any agent in any of the environments, with results on disk that survive a kill.

`config` lists the parameters, `run` plays the episodes, `folder` writes them, `summary` holds the results; `empg_gym.rollout.plan` decides
which tasks are run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from empg_gym.agents import AgentInfo, AgentLike, TrainingOrigin, as_agent, label_of, make_agent
from empg_gym.evaluation.config import EvalConfig
from empg_gym.evaluation.environments import find_recipe
from empg_gym.evaluation.run import EvaluationRun, TakesNotes, Watcher
from empg_gym.evaluation.summary import Summary
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id, short_name
from empg_gym.rollout import run_sync
from empg_gym.rollout.panels import find_panel
from empg_gym.runs.validation import validate

_log = logging.getLogger(__name__)
_SHOWN = 60
"""Characters of a value that a note shows."""


def evaluate(
    config: EvalConfig | str | Sequence[str] | None = None,
    agent: str | AgentLike | None = None,
    *,
    watch: Watcher | None = None,
    **options: Any,
) -> Summary:
    """Run episodes of environments with an agent and return a summary of the results.

    Args:
        config: the configuration, or the environments alone ("alfworld", ["alfworld@valid_seen", "webshop"]); None with a `panel`.
        agent: name of an agent (see `make_agent`), an agent object, or a function `f(messages)` or `f(messages, tools)` that returns the
            response, with or without `async`; None takes the one that `config` names.
        watch: notified of every episode.
        **options: the other fields of `EvalConfig`; they replace those of `config`.

    Example:
        >>> summary = evaluate("alfworld", agent="expert", episodes=5)
        >>> summary = evaluate(EvalConfig(envs="alfworld", agent="expert", episodes=5))
        >>> summary = evaluate(panel="alfworld-small-unseen-1000", agent="expert")

    Raises:
        ConfigError, TaskError, DataError, MissingDependencyError: something for the user to fix first.
        OutputExistsError: `out` holds something else.
    """
    resolved = _resolve(config, agent, options)
    made_here = agent is None or isinstance(agent, str)
    used = make_agent(resolved.agent, **resolved.agent_options) if agent is None or isinstance(agent, str) else as_agent(agent)
    run = EvaluationRun(resolved, used)
    try:
        recipes = list(_recipes(resolved, used.info))
        training = used.info.training
        if training is not None:
            recipes = [recipe.with_training_defaults(training.recipe) for recipe in recipes]
            ignored = _ignored(training, recipes)
            if isinstance(watch, TakesNotes):
                for note in filter(None, (_as_trained(training, recipes), ignored)):
                    watch.note(note)
            elif ignored is not None:
                _log.warning(ignored)
        for recipe in recipes:
            run.add(recipe)
        return run_sync(run.play(watch))
    finally:
        run.close()
        if made_here:
            used.close()


def _resolve(config: EvalConfig | str | Sequence[str] | None, agent: str | AgentLike | None, options: Mapping[str, Any]) -> EvalConfig:
    if isinstance(config, EvalConfig):
        fields = {name: getattr(config, name) for name in config.model_fields_set}
    else:
        fields = {} if config is None else {"envs": config}
    fields |= options
    if agent is not None:
        fields["agent"] = agent if isinstance(agent, str) else label_of(agent)
    return validate(EvalConfig, fields, what="the evaluation")


def _recipes(config: EvalConfig, agent: AgentInfo) -> Iterator[EnvRecipe]:
    kwargs, chat = config.env_kwargs, config.chat_settings(agent)
    if config.panel is not None:
        yield find_panel(config.panel).recipe(kwargs, chat)
        return
    ids = [find_id(name.partition("@")[0]) for name in config.envs]
    by_env = {
        name: env_id
        for name in kwargs
        for env_id in ids
        if isinstance(kwargs[name], Mapping) and (name == env_id or short_name(name) == short_name(env_id))
    }
    common = {name: value for name, value in kwargs.items() if name not in by_env}
    for name, env_id in zip(config.envs, ids, strict=True):
        own = [kwargs[key] for key, owner in by_env.items() if owner == env_id]
        arguments = {**common, **{key: value for given in own for key, value in given.items()}}
        yield find_recipe(name, split=config.split, kwargs=arguments, chat=chat)


def _as_trained(training: TrainingOrigin, recipes: Sequence[EnvRecipe]) -> str:
    """Return one line with the settings that the training run decided, in the form in which the command line overrides them."""
    decided = {name: value for recipe in recipes for name, value in recipe.as_trained.items()}
    decided |= {f"agent.{name}": value for name, value in training.options.items()}
    values = ((name, json.dumps(value, ensure_ascii=False)) for name, value in decided.items())
    shown = " ".join(f"{name}={text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}" for name, text in values)
    others = ", ".join(dict.fromkeys(recipe.env_id for recipe in recipes if recipe.env_id != training.recipe.env_id))
    elsewhere = f"; in {others}, where it was not trained, only agent.…" if others else ""
    return f"as in the training run {training.folder}: {shown or 'nothing, since every option is given'}{elsewhere}"


def _ignored(training: TrainingOrigin, recipes: Sequence[EnvRecipe]) -> str | None:
    """Return one line with the arguments of the training run that its files must not decide; None if there are none."""
    names = dict.fromkeys(name for recipe in recipes for name in recipe.ignored)
    options = {f"agent.{name}": value for name, value in training.ignored.items()}
    if not names and not options:
        return None
    settings = " ".join(f"--set {name}=…" for name in [*names, *options])
    return (
        f"not taken from the training run {training.folder}, since a file must not decide them: {', '.join([*names, *options])}; "
        f"if you trust the values in its config.json, pass them: {settings}"
    )
