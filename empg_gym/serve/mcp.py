"""Environments as MCP tools, over stdio or streamable HTTP (extra `mcp`).

Rules:
    - MCP has no sessions: `reset` returns the handle of an episode, which all other tools take.
    - What a caller did wrong is a tool error, one sentence that says what to do.
    - Over stdio, nothing but the protocol is written to standard output.
    - Texts are UTF-8: a lone surrogate becomes "?".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel, Field

import empg_gym
from empg_gym.errors import EMPGGymError
from empg_gym.net.server import App
from empg_gym.serve.episodes import Episodes, Outcome, tasks_of
from empg_gym.serve.host import EnvHost
from empg_gym.serve.step_fields import IN_INFO, StepFields
from empg_gym.serve.text import utf8

SHOWN_ACTIONS = 100
"""Admissible actions in an answer."""
SHOWN_TASKS = 100
"""Tasks in an answer."""


class EnvironmentEntry(BaseModel):
    """A served environment."""

    name: str = Field(description="Name for the argument env of the other tools")
    env_id: str = Field(description="Id of the environment")
    splits: dict[str, int] = Field(description="Splits with their numbers of tasks")
    max_steps: int = Field(description="Actions after which an episode is truncated")


class TaskEntry(BaseModel):
    """A task of a split."""

    index: int = Field(description="Place in the split")
    id: str = Field(description="Id of the task")
    split: str = Field(description="Name of the split")


class EpisodeStep(StepFields):
    """Where an episode is after a reset or an action."""

    episode: str = Field(description="Handle of the episode, for step, state and close")
    observation: str = Field(description="What the agent sees")
    reward: float = Field(description="Reward of the last action; 0 after a reset")
    admissible_actions: list[str] = Field(description=f"Actions that are possible now, or templates of them; the first {SHOWN_ACTIONS}")


def make_mcp_server(hosts: Mapping[str, EnvHost], episodes: Episodes) -> MCPServer[Any]:
    """Return the MCP server of some environments.

    Args:
        hosts: the environments by name.
        episodes: holds the episodes.

    Raises:
        EMPGGymError: an environment can't be made.
    """
    server: MCPServer[Any] = MCPServer("empg-gym", instructions=_instructions(hosts), version=empg_gym.__version__, log_level="WARNING")

    def tool(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def answered(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except EMPGGymError as error:
                raise ToolError(str(error)) from None

        server.add_tool(answered)
        return answered

    @tool
    def list_environments() -> list[EnvironmentEntry]:
        """List the served environments with their splits and numbers of tasks."""
        return [
            EnvironmentEntry(
                name=name,
                env_id=host.env_id,
                splits={split: host.catalog(split).num_tasks for split in host.splits},
                max_steps=host.catalog().max_steps,
            )
            for name, host in hosts.items()
        ]

    @tool
    def list_tasks(env: str | None = None, split: str | None = None, start: int = 0, stop: int = SHOWN_TASKS) -> list[TaskEntry]:
        """List tasks from `start` to before `stop`, at most 100; env and split may be left out where there is one, or for the default."""
        catalog = episodes.host(env).catalog(split)
        return [TaskEntry(**entry) for entry in tasks_of(catalog, start, min(stop, start + SHOWN_TASKS))]

    @tool
    def reset(env: str | None = None, split: str | None = None, task: int | str | None = None, seed: int | None = None) -> EpisodeStep:
        """Start an episode and return its handle; the task is drawn from the seed unless it is named by its index or id."""
        handle, outcome = episodes.start(env, split, task, seed)
        return _shown(handle, outcome)

    @tool
    def step(episode: str, action: str) -> EpisodeStep:
        """Carry out one action in an episode."""
        return _shown(episode, episodes.step(episode, action))

    @tool
    def state(episode: str) -> EpisodeStep:
        """Return where an episode is, as its last reset or step did."""
        return _shown(episode, episodes.last(episode))

    @tool
    def close(episode: str) -> EpisodeStep:
        """End an episode and return where it was."""
        return _shown(episode, episodes.close(episode))

    for name, host in hosts.items():
        if host.card is not None:
            _add_card(server, name, host.card)
    return server


def http_app(server: MCPServer[Any], max_message: int) -> App:
    """Return the server's ASGI application, with the endpoint /mcp; hosts are checked by the server that runs it."""
    trusting = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app: App = server.streamable_http_app(
        json_response=True, stateless_http=True, max_request_body_size=max_message, transport_security=trusting
    )
    return app


def _add_card(server: MCPServer[Any], name: str, text: str) -> None:
    @server.resource(f"card://{name}", name=f"{name} card", description=f"Documentation of {name}", mime_type="text/markdown")
    def card() -> str:
        return text


def _instructions(hosts: Mapping[str, EnvHost]) -> str:
    usage = "Start an episode with reset, then call step with its handle and one action at a time until terminated or truncated is true."
    rules = [f"# {name}\n\n{host.catalog().rules}" for name, host in hosts.items()]
    return "\n\n".join([usage, *rules])


def _shown(handle: str, outcome: Outcome) -> EpisodeStep:
    observation, reward, terminated, truncated, info = outcome
    shown = {
        **{name: info[name] for name in IN_INFO},
        "instruction": utf8(info["instruction"]),
        "admissible_actions": [utf8(action) for action in info["admissible_actions"][:SHOWN_ACTIONS]],
    }
    return EpisodeStep(
        episode=handle, observation=utf8(observation), reward=reward, terminated=terminated, truncated=truncated, **shown
    )  # fmt: skip
