"""`as_agent` and `Session`: the one place that adapts what users bring to the typed contract of `empg_gym.agents.base`.

Accepted are:
    - a `BaseAgent`, unchanged;
    - an object with `session(env, seed)`, which returns an object with `act` for each episode;
    - an object with only `act(messages, *, tools=None)`, which plays all episodes;
    - a function `f(messages)` or `f(messages, tools)`, with or without `async`.

An object may also have, all optional:
    name                   label in results;
    describe()             a dictionary with what decides the answers, for the configuration file of a run;
    check()                called before the first episode, with or without `async`; raises if the agent cannot play;
    aclose()               asynchronous, called at the end of every evaluation;
    close()                called at the end by the code that made the agent (by `evaluate` for an agent that it made from a name);
    preferred_concurrency  episodes to run at once where the user does not say;
    end_on_cut_response    whether an episode ends with a cut response (default: true);
    dialogue               a `Dialogue`, the agent's own text format.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from empg_gym.agents.base import Agent, AgentInfo, BaseAgent, Message, Reply
from empg_gym.agents.border import checked
from empg_gym.dialogue import Dialogue
from empg_gym.errors import AgentError, ConfigError
from empg_gym.trajectory import Completion

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv


class SessionAgent(Protocol):
    """An object that opens a session for each episode."""

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        """Return what plays one episode of `env`; all its randomness comes from `seed`."""
        ...


AgentLike = BaseAgent | Agent | SessionAgent | Callable[..., Reply | Awaitable[Reply]]
"""What `as_agent` accepts; the module docstring lists the forms."""


class AdaptedAgent(BaseAgent):
    """A user's object with `session` or `act`.

    Args:
        found: the object; see the module docstring for its optional attributes.
    """

    def __init__(self, found: Any) -> None:
        self.adapted = found

    @property
    def info(self) -> AgentInfo:
        found, default = self.adapted, AgentInfo()
        describe = getattr(found, "describe", None)
        dialogue = getattr(found, "dialogue", None)
        return AgentInfo(
            name=str(getattr(found, "name", "")),
            concurrency=int(getattr(found, "preferred_concurrency", default.concurrency)),
            end_on_cut_response=bool(getattr(found, "end_on_cut_response", True)),
            dialogue=dialogue if isinstance(dialogue, Dialogue) else None,
            settings=describe() if callable(describe) else None,
        )

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        session = getattr(self.adapted, "session", None)
        opened: Agent = session(env, seed) if callable(session) else _Shared(self.adapted)
        return opened

    async def check(self) -> None:
        check = getattr(self.adapted, "check", None)
        if callable(check) and inspect.isawaitable(pending := check()):
            await pending

    async def aclose(self) -> None:
        release = getattr(self.adapted, "aclose", None)
        if callable(release):
            await release()

    def close(self) -> None:
        close = getattr(self.adapted, "close", None)
        if callable(close):
            close()


class _Shared:
    """An agent that plays all episodes: closing a session does not close it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        return self._agent.act(messages, tools=tools)


class FunctionAgent(BaseAgent):
    """A function as an agent.

    Raises:
        ConfigError: it can be called neither as `f(messages)` nor as `f(messages, tools=…)`.
    """

    def __init__(self, function: Callable[..., Reply | Awaitable[Reply]]) -> None:
        self._function = function
        self._takes_tools = _can_be_called(function, None, tools=None)
        if not self._takes_tools and not _can_be_called(function, None):
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigError(
                f"the function {name} can't be called as an agent: expected f(messages) or f(messages, tools); "
                "the second parameter must be named tools, others need a default"
            )

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return self

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        return self._function(messages, tools=tools) if self._takes_tools else self._function(messages)


class Session:
    """An agent during one episode: always asynchronous, always answers with a `Completion`.

    Args:
        agent: what answers; its method `close`, if it has one, is called at the end.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        """Return the completion, whether the agent answers at once or later, as `empg_gym.agents.border` lets it pass.

        Raises:
            AgentError: the agent returned neither a text nor a completion.
        """
        reply = self._agent.act(messages, tools=tools)
        if inspect.isawaitable(reply):
            reply = await reply
        if isinstance(reply, str):
            return checked(Completion(text=reply))
        if isinstance(reply, Completion):
            return checked(reply)
        raise AgentError(f"act() must return a text or a Completion, not {type(reply).__name__}")

    def close(self) -> None:
        """Release what the session holds."""
        close = getattr(self._agent, "close", None)
        if callable(close):
            close()


def as_agent(found: AgentLike, name: str | None = None) -> BaseAgent:
    """Return what a user brings as a `BaseAgent`; the module docstring lists what is accepted.

    Args:
        found: the user's agent.
        name: what an error calls it.

    Raises:
        ConfigError: it is not an agent.
    """
    if isinstance(found, BaseAgent):
        return found
    # A session comes first: an object that has both is asked for sessions.
    method = next((method for method in ("session", "act") if callable(getattr(found, method, None))), None)
    if method is not None and _is_bound(found, method):
        return AdaptedAgent(found)
    if inspect.isclass(found):
        raise ConfigError(f"{name or found.__qualname__} is a class, not an agent: give an object of it, {found.__name__}(…)")
    if callable(found):
        return FunctionAgent(found)
    raise ConfigError(
        f"{name or repr(found)} is not an agent: expected the name of one, an object with act(messages, *, tools=None) or "
        "session(env, seed), or a function f(messages)"
    )


def label_of(found: AgentLike) -> str:
    """Return a label for an agent without a name of its own: the name of its class or function."""
    return str(getattr(found, "__qualname__", type(found).__qualname__))


def _can_be_called(function: Callable[..., Any], *arguments: None, **named: None) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **named)
    except (TypeError, ValueError):
        return False
    return True


def _is_bound(found: object, method: str) -> bool:
    """Return whether a method can be called as it is: that of a class only where it needs no object of the class."""
    return not inspect.isclass(found) or isinstance(inspect.getattr_static(found, method), staticmethod | classmethod)
