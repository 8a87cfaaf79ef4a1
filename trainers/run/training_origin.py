"""The training run of a checkpoint, so that an evaluation can use the settings of the training.

A model learns one kind of conversation: dialogue format, system prompt (or none), environment options and response length. With other
settings it looks worse than it is. For a model folder in `RUN/checkpoints`, all of them are in `RUN/config.json`.

The folder may be somebody else's. Of the environment's arguments `empg_gym.inherited` decides which are used; of the agent's options only
numbers up to `LARGEST_TOKENS` and `LARGEST_TEMPERATURE` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from empg_gym.errors import DataError
from empg_gym.recipe import EnvRecipe
from empg_gym.runs.json_file import read_json
from empg_gym.trainers.config.sections import EnvConfig, EvalConfig, RolloutConfig

LARGEST_TOKENS = 2**20
LARGEST_TEMPERATURE = 10.0
_SECTIONS = ("env", "rollout", "eval")
_HINT = "restore the file, or copy the checkpoint elsewhere and give dialogue, history and system prompt yourself"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The settings of a training run that an evaluation of its checkpoint uses."""

    folder: Path
    """The run folder."""
    recipe: EnvRecipe
    """The training environment."""
    agent: Mapping[str, Any]
    """Options of the agent: temperature (that of the run's evaluations), max_response_tokens, max_row_tokens."""
    ignored: Mapping[str, Any]
    """Options of the agent that are out of range."""


def settings_of_run(model: Path) -> TrainingSettings | None:
    """Return the settings of the run that the checkpoint in the folder `model` belongs to; None if it does not belong to a run.

    Raises:
        DataError: the run's configuration is damaged.
    """
    model = model.expanduser().resolve()
    path = model.parent.parent / "config.json"
    if model.parent.name != "checkpoints" or not path.is_file():
        return None
    try:
        config = read_json(path, hint=_HINT)
        if not all(name in config for name in _SECTIONS):
            return None
        env, rollout = EnvConfig.model_validate(config["env"]), RolloutConfig.model_validate(config["rollout"])
        evaluation = EvalConfig.model_validate(config["eval"])
    except ValidationError as error:
        raise DataError(f"{path} is damaged or of another version ({error.errors()[0]['msg']}): {_HINT}") from None
    agent = {
        "temperature": evaluation.temperature,
        "max_response_tokens": rollout.max_response_tokens,
        "max_row_tokens": rollout.max_row_tokens,
    }
    largest = {name: LARGEST_TEMPERATURE if name == "temperature" else LARGEST_TOKENS for name in agent}
    used = {name: value for name, value in agent.items() if value <= largest[name]}
    ignored = {name: value for name, value in agent.items() if name not in used}
    return TrainingSettings(folder=path.parent, recipe=env.recipe(), agent=used, ignored=ignored)
