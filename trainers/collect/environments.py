"""The environments of a training run."""

from __future__ import annotations

from empg_gym.errors import MissingSplitError
from empg_gym.recipe import EnvRecipe
from empg_gym.trainers.config.sections import TrainConfig


def evaluation_environments(config: TrainConfig) -> tuple[dict[str, tuple[EnvRecipe, tuple[str, ...]]], dict[str, str]]:
    """Return recipe and task ids of each evaluation split, and the splits that the data lacks with the reason.

    Raises:
        MissingSplitError: the data has none of the splits.
        ConfigError: the environment or an option is unknown.
    """
    found: dict[str, tuple[EnvRecipe, tuple[str, ...]]] = {}
    missing: dict[str, str] = {}
    for split in config.eval.splits:
        recipe = config.env.recipe(split)
        try:
            found[split] = recipe, recipe.tasks()
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
