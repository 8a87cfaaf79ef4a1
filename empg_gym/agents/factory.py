"""Agents by name: the text after `--agent`.

expert | random | human            no argument
openai[:MODEL]                     a chat server; see `OpenAIAgent` for the options
python:pkg.module:object           a user's own
exec:COMMAND                       a process that reads and writes JSON lines
checkpoint:DIR                     a Hugging Face model folder (needs the extra `train`)
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_origin, get_type_hints

from empg_gym.agents.adapter import as_agent
from empg_gym.agents.base import BaseAgent
from empg_gym.agents.python_object import load_agent
from empg_gym.errors import ConfigError, nearest


class _Kind(NamedTuple):
    entry_point: str
    parameter: str | None
    """Name of the constructor's parameter that takes the text after the colon."""
    example: str
    needs_argument: bool = True


KINDS: dict[str, _Kind] = {
    "expert": _Kind("empg_gym.agents.scripted:ExpertAgent", None, "expert", False),
    "random": _Kind("empg_gym.agents.scripted:RandomAgent", None, "random", False),
    "human": _Kind("empg_gym.agents.human:HumanAgent", None, "human", False),
    "openai": _Kind("empg_gym.agents.openai:OpenAIAgent", "model", "openai:gpt-4o-mini", False),
    "exec": _Kind("empg_gym.agents.process:ProcessAgent", "command", "exec:'python my_agent.py'"),
    "checkpoint": _Kind("empg_gym.trainers.run.checkpoint_agent:CheckpointAgent", "folder", "checkpoint:runs/demo"),
}
"""Name to entry point; `python` loads a user's own object."""


def make_agent(spec: str, **options: Any) -> BaseAgent:
    """Return the agent that `spec` names, made with `options`.

    Example: `make_agent("openai:my-model", base_url="http://127.0.0.1:8000/v1", temperature=0.6)`.

    Raises:
        ConfigError: the kind is unknown, its argument is missing, or an option is unknown or of the wrong type.
        MissingDependencyError: the kind needs an extra that is not installed.
    """
    name, _, argument = spec.partition(":")
    if name == "python":
        return load_agent(argument, options)
    if name not in KINDS:
        raise ConfigError(f"unknown agent {spec!r}; {nearest(name, [*KINDS, 'python'])}")
    kind = KINDS[name]
    if kind.needs_argument and not argument:
        raise ConfigError(f"the agent {name!r} needs an argument, such as {kind.example}")
    if argument and kind.parameter is None:
        raise ConfigError(f"the agent {name!r} takes no argument, got {argument!r}")
    if argument and kind.parameter in options:
        raise ConfigError(f"{kind.parameter} is given twice: as {argument!r} and as {options[kind.parameter]!r}")
    module, _, attribute = kind.entry_point.partition(":")
    maker: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    known = [parameter for parameter in inspect.signature(maker).parameters if parameter != "self"]
    for option in options:
        if option not in known:
            takes = nearest(option, known) if known else "it takes none"
            raise ConfigError(f"the agent {name!r} has no option {option!r}; {takes}")
    _check_types(name, maker, options)
    if argument and kind.parameter is not None:
        options[kind.parameter] = argument
    return as_agent(maker(**options), spec)


def _check_types(name: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise if an option is not of the type that `maker` declares; the error does not show the value, which may be a key."""
    if not options:
        return
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(maker.__init__)
    for option, value in options.items():
        if get_origin(hints[option]) is Literal:
            continue  # the agents name the nearest choice themselves
        try:
            TypeAdapter(hints[option]).validate_python(value, strict=True)
        except ValidationError as error:
            problems = " or ".join(dict.fromkeys(problem["msg"] for problem in error.errors(include_input=False, include_url=False)))
            raise ConfigError(f"the agent {name!r} can't use the {option} given, of the type {type(value).__name__}: {problems}") from None
