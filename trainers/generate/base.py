"""The protocol between the training run and the backend that generates its responses.

The run knows no more of a backend than this page: it hands the generator to `empg_gym.rollout.Rollout`, which opens one session per
episode, and after an update it publishes the new weights. A backend runs in this process (`hf`), as an engine or as a server; it is
named in the configuration (`rollout.backend`) and built by `empg_gym.trainers.generate.backends`.

Rules for a backend:
    - Token in, token out: a `Completion` holds the ids that the model read and wrote, with the log-probability and the entropy of the
      sampling distribution at each of them.
    - The tokens of an episode are a function of its seed and the weights, not of the episodes that run at the same time (up to rounding).
    - Every response names the `policy_version` that began it.
    - A failure reaches the waiting sessions as an exception; nothing hangs.
    - Weights arrive by name. A backend may share storage with the model that is trained, and then copies nothing.

Branching (AEPO): the environment of a branched episode has a path before its own first step (`LLMAgentEnv.path`). A session continues
the row of that path, id by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from empg_gym.agent_env import LLMAgentEnv
    from empg_gym.agents.base import Message
    from empg_gym.trainers.generate.sampling import Sampling
    from empg_gym.trajectory import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """What every backend is built with."""

    sampling: Sampling
    """How tokens are drawn unless a session says otherwise."""
    max_response_tokens: int
    """Maximum response length, in tokens."""
    max_row_tokens: int | None
    """Maximum row length (prompts and responses), in tokens; None takes the model's number of positions."""
    max_batch: int
    """Sessions that generate at the same time; others wait."""
    dtype: torch.dtype | None = None
    """Number type of the weights that generate; None takes the model's."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a generator has done since it was built; the difference of two readings is a rollout's share."""

    forwards: int = 0
    """Calls of the model."""
    prompt_tokens: int = 0
    """Tokens that were read into the cache, including those read again."""
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

    def close(self) -> None:
        """Release what the session holds (its place in the cache)."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A session agent whose weights the trainer publishes."""

    policy_version: int
    """Reinforcement steps that the weights in use have seen."""

    @property
    def usage(self) -> Usage:
        """What has been done so far."""
        ...

    def session(self, env: LLMAgentEnv | None, seed: int) -> GeneratorSession:
        """Return a session for one episode; all its randomness comes from `seed`."""
        ...

    def with_sampling(self, sampling: Sampling) -> Generator:
        """Return a generator with the same weights, now and after every update, that draws tokens with other settings."""
        ...

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Use new weights from the next token on; what was computed with the old ones is forgotten.

        Args:
            named_tensors: parameters by the names of `model.named_parameters()`.
            version: the new `policy_version`.
        """
        ...

    def close(self) -> None:
        """Release memory and processes."""
        ...
