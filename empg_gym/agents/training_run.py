"""The training run that a checkpoint comes from, so that an evaluation plays as the training did.

A model learns one conversation: its dialogue format, its system prompt (or none), its environment's options, how long a response may be.
Played in another one it looks worse than it is. A model folder in `RUN/checkpoints` has all of that in `RUN/config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError

_SECTIONS = ("env", "rollout", "eval")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What a run played with; the meaning of each is that of the configuration's key (`empg_gym.trainers.config.sections`)."""

    folder: Path
    env_id: str
    data: str | None
    max_steps: int | None
    options: Mapping[str, Any]
    embedded_options: Mapping[str, Any]
    conversation: Mapping[str, Any]
    """Arguments of `LLMAgentEnv`: dialogue, history, show_admissible, system_prompt."""
    agent: Mapping[str, Any]
    """Options of the agent: temperature (of the run's own evaluations), max_response_tokens, max_row_tokens."""

    def env_kwargs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the environment's arguments: those that are given, the run's for the rest.

        As in the run, the options of the embedded world are left out where there is data.
        """
        data = given.get("data", self.data)
        own = {**self.options, **(self.embedded_options if data is None else {"data": data})}
        if self.max_steps is not None:
            own["max_steps"] = self.max_steps
        return {**own, **given}


def run_of(model: Path) -> TrainingRun | None:
    """Return the run whose checkpoint the folder `model` is; None where it is no run's.

    Raises:
        DataError: there is a run's configuration, and it is damaged.
    """
    model = model.expanduser().resolve()
    path = model.parent.parent / "config.json"
    if model.parent.name != "checkpoints" or not path.is_file():
        return None
    from pydantic import ValidationError

    from empg_gym.trainers.config.sections import EnvConfig, EvalConfig, RolloutConfig

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not all(name in config for name in _SECTIONS):
            return None
        env, rollout = EnvConfig.model_validate(config["env"]), RolloutConfig.model_validate(config["rollout"])
        evaluation = EvalConfig.model_validate(config["eval"])
    except (OSError, ValueError) as error:
        reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"can't tell how the checkpoint {model.name} was trained: {path} is damaged or of another version ({reason}); "
            "put it back, or copy the model folder to another place and give the conversation yourself"
        ) from None
    return TrainingRun(
        folder=path.parent,
        env_id=env.id,
        data=env.data,
        max_steps=env.max_steps,
        options=env.options,
        embedded_options=env.embedded_options,
        conversation={name: getattr(env, name) for name in ("dialogue", "history", "show_admissible", "system_prompt")},
        agent={
            "temperature": evaluation.temperature,
            "max_response_tokens": rollout.max_response_tokens,
            "max_row_tokens": rollout.max_row_tokens,
        },
    )
