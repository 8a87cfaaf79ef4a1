"""The protocol between the training loop and what generates its responses.

The loop knows no more of a backend than this page: it hands the generator to `empg_gym.rollout.Rollout`, which opens one session an
episode, and after an update it says that the weights changed. A backend is in-process (`HFGenerator`), an engine or a server.

Rules for a backend:
    - Token in, token out: a `Completion` holds the ids that the model read and wrote, with the log-probability and the entropy of the
      sampling distribution at each of them.
    - The tokens of an episode are a function of its seed and the weights, not of the episodes beside it (up to rounding).
    - Every response names the `policy_version` that began it.
    - A failure reaches the sessions that wait as an exception; nothing hangs.

Branching (AEPO) fits in here: a session's `fork(seed)` gives a session with the same row that goes on with its own random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from empg_gym.agent_env import LLMAgentEnv
    from empg_gym.agents.base import Message
    from empg_gym.trajectory import Completion


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a generator has done since it was made; the difference of two readings gives a rollout's share."""

    forwards: int = 0
    """Calls of the model."""
    prompt_tokens: int = 0
    """Tokens that were read into the cache, those of re-reading included."""
    response_tokens: int = 0
    """Tokens that were generated."""
    responses: int = 0
    seconds: float = 0.0
    """Wall-clock time in the model and in sampling."""


class GeneratorSession(Protocol):
    """Plays one episode."""

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        """Return the response to the last message."""
        ...

    def fork(self, seed: int) -> GeneratorSession:
        """Return a session that has the same row so far and draws from `seed` from here on."""
        ...

    def close(self) -> None:
        """Give back what the session holds (its place in the cache)."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A `SessionAgent` whose weights the trainer changes."""

    policy_version: int
    """Reinforcement steps that the weights in use have seen."""

    @property
    def usage(self) -> Usage:
        """What has been done so far."""
        ...

    def session(self, env: LLMAgentEnv | None, seed: int) -> GeneratorSession:
        """Return what plays one episode; all its randomness comes from `seed`."""
        ...

    def weights_changed(self, policy_version: int) -> None:
        """Take the new weights into use: what was computed with the old ones is forgotten."""
        ...

    def close(self) -> None:
        """Give back memory and processes."""
        ...
