"""The configuration of an evaluation.

`EvalConfig` is the only place that lists the parameters of an evaluation: `evaluate` takes one or builds one from its keywords, and
`empg-gym eval` is generated from it. `Flag` marks the fields that are options of the command, their docstrings are its help texts, and
`--set` reaches `env_kwargs`, `agent_options`, `limits` and `backend` as `env.KEY`, `agent.KEY`, `limits.KEY` and `backend.KEY`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from empg_gym.agents import AgentInfo
from empg_gym.chat_settings import ChatSettings
from empg_gym.dialogue import Dialogue
from empg_gym.errors import ConfigError, nearest
from empg_gym.evaluation.settings import read_prices, read_tasks
from empg_gym.rollout import EnvBackend, Limits
from empg_gym.rollout.panels import find_panel
from empg_gym.runs.flags import Flag
from empg_gym.scoring.prices import Prices


def _whole(value: Any) -> Any:
    """Accept every integer type, such as NumPy's, and nothing that would be rounded or read as one."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"expected a whole number, not {value!r}")
    return operator.index(value)


def _names(value: Any) -> Any:
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, Iterable) and not (names := tuple(names)):
        raise ConfigError("no environment named; `empg-gym envs` lists them")
    return names


def _tasks(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"tasks is a list of ids and indices, not {value!r}")
    return tuple(task if isinstance(task, str) else _whole(task) for task in value)


def _limits(value: Any) -> Any:
    if isinstance(value, Limits):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        _check_names("limits", value, Limits)
        Limits(**value)
    return {} if value is None else value


def _backend(value: Any) -> Any:
    if isinstance(value, str):
        return EnvBackend(name=value)
    if isinstance(value, Mapping):
        _check_names("backend", value, EnvBackend)
        return EnvBackend(**value)
    return EnvBackend() if value is None else value


def _check_names(section: str, values: Mapping[str, Any], kind: type[Limits] | type[EnvBackend]) -> None:
    known = [item.name for item in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown key '{section}.{name}' in the evaluation; {nearest(str(name), known)}")


def _options(value: Any) -> Any:
    return {} if value is None else value


Options = Annotated[dict[str, Any], BeforeValidator(_options)]


class EvalConfig(BaseModel):
    """Which episodes to run, with which agent and settings, and where to write the results.

    A checkpoint of a training run is evaluated in that run's environment as it was trained: where `dialogue`, `history`,
    `show_admissible`, `system_prompt` and `env_kwargs` leave something open, the run decides, and `as_trained` in the results records
    it. If `dialogue` is given here, the run's system prompt, which explains another one, is not used; with another native protocol,
    neither is its dialogue.

    Example:
        `EvalConfig(envs="alfworld", agent="openai:my-model", episodes=100, agent_options={"temperature": 0.6})`
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True, use_attribute_docstrings=True)

    envs: Annotated[tuple[str, ...], BeforeValidator(_names), Flag(argument=True, many=True, metavar="ENV...")] = ()
    """Environments: ids or short names (alfworld, webshop, deepsearch), each optionally with @SPLIT."""
    agent: Annotated[str, Flag(short="-a", metavar="AGENT")]
    """expert, random, human, openai[:MODEL], python:module:object, exec:COMMAND or checkpoint:DIR."""
    panel: Annotated[str | None, Flag(metavar="NAME")] = None
    """Task panel to run instead of ENV, --split, --episodes and --tasks: a name such as alfworld-unseen-134, or FILE.toml:NAME."""
    split: Annotated[str | None, Flag()] = None
    """Split of the environments that name none; default: the held-out split."""
    episodes: Annotated[int | None, Field(ge=1), BeforeValidator(_whole), Flag(short="-n")] = None
    """Number of tasks to draw from the split, without replacement; default: all, at most 500."""
    tasks: Annotated[tuple[str | int, ...] | None, BeforeValidator(_tasks), Flag(many=True, read=read_tasks)] = None
    """Tasks to run: ids, indices (numbers that are not ids), ranges of indices such as 0:20, or @FILE; may be repeated."""
    repeats: Annotated[int, Field(ge=1), BeforeValidator(_whole), Flag(short="-k")] = 1
    """Episodes per task."""
    concurrency: Annotated[int | None, Field(ge=1), BeforeValidator(_whole), Flag(short="-c")] = None
    """Episodes to run at once; default: the agent's own number."""
    seed: Annotated[int, Field(ge=0), BeforeValidator(_whole), Flag()] = 0
    """Seed of the drawn tasks, the environments and the agent."""
    out: Annotated[Path | None, Flag()] = None
    """Run folder; a folder with the same configuration is resumed. Default of the command: a new folder in runs/eval."""
    dialogue: Annotated[str | Dialogue | None, Flag()] = None
    """Dialogue format: think-action, react, plain or native."""
    history: Annotated[int | None, Field(ge=0), BeforeValidator(_whole), Flag()] = None
    """Number of earlier steps that the agent sees; default: all."""
    show_admissible: Annotated[bool | None, Flag()] = None
    """List the admissible actions in each message."""
    system_prompt: Annotated[str | None, Flag()] = None
    """Replace the system prompt, which consists of the environment's and the dialogue's rules; '' leaves it out."""
    retries: Annotated[int, Field(ge=0), BeforeValidator(_whole), Flag()] = 1
    """Retries per failed episode."""
    backend: Annotated[EnvBackend, BeforeValidator(_backend), Flag(read=str)] = EnvBackend()
    """Where the environments run: inline, processes (each in its own process, with deadlines), or module:function."""
    prices: Annotated[Prices | None, BeforeValidator(Prices.of), Flag(metavar="IN,OUT", read=read_prices)] = None
    """Prices per million prompt and completion tokens, such as 0.15,0.60."""
    env_kwargs: Options = Field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`; `{"WebShop": {...}}` passes some to one environment only."""
    agent_options: Options = Field(default_factory=dict)
    """Options of an agent that is given by name."""
    agent_name: str | None = None
    """Label of the agent in results, where it has no name of its own; None: `agent`."""
    limits: Annotated[dict[str, Any], BeforeValidator(_limits)] = Field(default_factory=dict)
    """When to end an episode in addition to the environment's own limits: a `Limits`, or some of its fields."""

    @model_validator(mode="after")
    def _environments_or_panel(self) -> EvalConfig:
        if self.panel is None:
            if not self.envs:
                raise ConfigError("no environment named; `empg-gym envs` lists them")
            return self
        panel = find_panel(self.panel)
        for name in ("envs", "split", "episodes", "tasks"):
            if getattr(self, name):
                raise ConfigError(f"a panel decides environment, split and tasks: leave out {name}, or the panel")
        if self.seed != panel.seed:
            raise ConfigError(f"the panel {panel.name} fixes seed={panel.seed}; use repeats for more episodes per task")
        return self

    def chat_settings(self, agent: AgentInfo) -> ChatSettings:
        """Return the chat settings of the environments for an agent."""
        return ChatSettings(
            dialogue=self.dialogue,
            preferred_dialogue=agent.dialogue,
            history=self.history,
            show_admissible=self.show_admissible,
            system_prompt=self.system_prompt,
        )

    def episode_limits(self, agent: AgentInfo) -> Limits:
        """Return the limits of an episode for an agent."""
        return Limits(**{"end_on_cut_response": agent.end_on_cut_response, **self.limits})
