"""The environments of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from empg_gym.errors import ConfigError, MissingSplitError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.panels import PanelTasks, choose_panel_tasks, find_panel, with_panel
from empg_gym.trainers.config.sections import TrainConfig


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
    evaluation_environments(config)
