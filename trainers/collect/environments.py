"""The environments of a training run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from empg_gym.errors import ConfigError, MissingSplitError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.panels import PanelTasks, choose_panel_tasks, find_panel, with_panel
from empg_gym.rollout.plan import draw_indices
from empg_gym.trainers.config.sections import TrainConfig

_EXAMINED = 1000
"""Tasks whose types are read to find a type."""


@dataclass(frozen=True, slots=True)
class EvaluationTasks:
    """The tasks that are evaluated in one split."""

    recipe: EnvRecipe
    tasks: tuple[str, ...]
    """Ids: those of the split, of which an evaluation draws some, or those of a panel."""
    seed: int
    """Seed of tasks and sampling."""
    panel: PanelTasks | None = None


def evaluation_environments(config: TrainConfig) -> tuple[dict[str, EvaluationTasks], dict[str, str]]:
    """Return the tasks of each evaluation split, and the splits that the data lacks with the reason.

    Raises:
        MissingSplitError: the data has none of the splits.
        ConfigError: the environment, an option or a panel is unknown, or two panels are of one split.
        DataError: the data is not that of a panel.
    """
    found: dict[str, EvaluationTasks] = {}
    for name in config.eval.panel:
        panel = find_panel(name)
        if panel.split in found:
            raise ConfigError(f"eval.panel names two panels of the split {panel.split}; evaluate one of them with empg-gym eval")
        recipe = with_panel(config.env.recipe(panel.split), panel)
        tasks = choose_panel_tasks(panel, recipe)
        found[panel.split] = EvaluationTasks(recipe, tasks.tasks, panel.seed, tasks)
    missing: dict[str, str] = {}
    for split in config.eval.splits:
        recipe = config.env.recipe(split)
        try:
            found[split] = EvaluationTasks(recipe, recipe.tasks(), config.eval.seed)
        except MissingSplitError as error:
            missing[split] = str(error)
            if len(missing) == len(config.eval.splits):
                raise
    return found, missing


def check_environments(config: TrainConfig) -> None:
    """Create an environment of the training split and read the tasks of each evaluation split, as a run does.

    Raises:
        EMPGGymError: any error that the run would raise.
    """
    config.env.recipe().make().close()
    check_task_weights(config)
    evaluation_environments(config)


def check_task_weights(config: TrainConfig) -> None:
    """Check that the training split has the task types that the configuration gives a weight.

    Raises:
        ConfigError: it has no task of such a type, as far as a thousand tasks show.
    """
    algorithm = config.algorithm
    reinforced = algorithm.task_source_options.get("weights") if algorithm.task_source == "weighted" else None
    given = {"warmstart.task_weights": config.warmstart.task_weights, "algorithm.task_source_options.weights": reinforced}
    wanted = {name: key for key, weights in given.items() if isinstance(weights, Mapping) for name in weights}
    if not wanted:
        return
    found: set[str] = set()
    with contextlib.closing(config.env.recipe().make()) as env:
        for task in draw_indices(env.text_env.num_tasks, _EXAMINED, seed=0):
            env.reset(seed=0, options={"task": task})
            found.add(env.text_env.task_type)
            if wanted.keys() <= found:
                return
    name = min(wanted.keys() - found)
    has = f"it has {', '.join(sorted(found))}" if any(found) else "its tasks have no types"
    raise ConfigError(f"{wanted[name]} names the task type {name!r}, but the training split has no such task; {has}")
