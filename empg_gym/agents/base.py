"""What an agent is.

An agent is anything with `act(messages, *, tools=None)` that returns a `Completion` or a text, at once or as an awaitable.
`messages` are chat messages `{"role": "system" | "user" | "assistant", "content": str}`, the last one from the user.

An agent that keeps something for the length of an episode (a token row, a random generator, a process) offers
`session(env, seed)` besides: the rollout calls it at the start of each episode and asks what it returns instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from empg_gym.errors import AgentError
from empg_gym.trajectory import Completion

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

Message = Mapping[str, Any]
Reply = Completion | str


@runtime_checkable
class Agent(Protocol):
    """Answers a conversation."""

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        """Return the response to the last message."""
        ...


@runtime_checkable
class SessionAgent(Protocol):
    """Gives an agent of its own to each episode."""

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        """Return the agent that plays one episode of `env`; its randomness comes from `seed`."""
        ...


def open_session(agent: Agent | SessionAgent, env: LLMAgentEnv, seed: int) -> Agent:
    """Return what plays one episode: the agent's session, or the agent itself."""
    return agent.session(env, seed) if isinstance(agent, SessionAgent) else agent


async def ask(agent: Agent, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None) -> Completion:
    """Return the agent's completion, whether it answers at once or later.

    Raises:
        AgentError: the agent returned neither a text nor a completion.
    """
    reply = agent.act(messages, tools=tools)
    if inspect.isawaitable(reply):
        reply = await reply
    if isinstance(reply, str):
        return Completion(text=reply)
    if isinstance(reply, Completion):
        return reply
    raise AgentError(f"act() must return a text or a Completion, not {type(reply).__name__}")
