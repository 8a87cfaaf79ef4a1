"""Keeps the lines of an agent's own code that an episode failed in.

A rollout records the text of an error; who wrote the agent needs the place. It goes into `trajectory.info["traceback"]`. Errors that EMPG
Gym raises on purpose say what to do themselves and have none.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents import Agent, Message, SessionAgent, ask, open_session
from empg_gym.errors import EMPGGymError
from empg_gym.trajectory import Completion

_FRAMES = 5
"""Calls that are kept, the innermost ones."""


class Witness:
    """An agent that plays as `agent` does, and notes where it fails."""

    def __init__(self, agent: Agent | SessionAgent) -> None:
        self._agent = agent

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        with _noted(env):
            session = open_session(self._agent, env, seed)
        return _Session(session, env, is_own=session is not self._agent)


class _Session:
    """The agent of one episode."""

    def __init__(self, session: Agent, env: LLMAgentEnv, *, is_own: bool) -> None:
        self._session, self._env, self._is_own = session, env, is_own

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        with _noted(self._env):
            return await ask(self._session, messages, tools)

    def close(self) -> None:
        close = getattr(self._session, "close", None)
        if self._is_own and callable(close):
            close()


@contextmanager
def _noted(env: LLMAgentEnv) -> Iterator[None]:
    try:
        yield
    except EMPGGymError:
        raise
    except Exception as error:
        env.trajectory.info["traceback"] = _lines(error)
        raise


def _lines(error: Exception) -> str:
    """Return the error's traceback, without the calls of this package that lead into the agent."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None and _is_ours(str(place.tb_frame.f_globals.get("__name__", ""))):
        place = place.tb_next
    return "".join(traceback.TracebackException(type(error), error, place, limit=-_FRAMES).format(chain=False)).rstrip()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("empg_gym", "contextlib", "asyncio")
