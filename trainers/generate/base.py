"""The protocol between the training run and the backend that generates its responses.

The run uses a backend only through this protocol: it passes the generator to `empg_gym.rollout.Rollout`, which opens one session per
episode, and publishes the new weights after each update. A backend runs in this process (`hf`, `vllm`) or as a server (`vllm-server`);
it is named in the configuration (`rollout.backend`) and built by `empg_gym.trainers.generate.backends`.

Rules for a backend:
    - Token in, token out: a `Completion` holds the ids that the model read and generated, with the log-probability of each generated token
      under the sampling distribution. Entropies are optional: where they are missing, the trainer's scoring pass computes them.
    - The tokens of an episode are a function of its seed and the weights, not of the episodes that run concurrently (up to rounding).
    - Every response records the `policy_version` under which it was started.
    - A failure is raised in the waiting sessions; nothing hangs.
    - Weights are passed by name. A backend may share storage with the trained model, and then copies nothing.

Branching (AEPO): a branched episode has steps before its own first step (`LLMAgentEnv.path`). Its session continues the row of that path,
id by id.
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
    from empg_gym.trajectory import Completion, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """Settings that every backend is built with."""

    sampling: Sampling
    """How tokens are drawn."""
    max_response_tokens: int
    """Maximum response length, in tokens."""
    max_row_tokens: int | None
    """Maximum row length (prompts and responses), in tokens; None uses the model's number of positions."""
    max_batch: int
    """Sessions that generate concurrently; others wait."""
    dtype: torch.dtype | None = None
    """Number type of the generator's weights; None uses the model's."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """Counters of a generator since it was built; the difference between two readings is the usage of a rollout."""

    forwards: int = 0
    """Forward passes."""
    prompt_tokens: int = 0
    """Tokens read into the cache, including those read again."""
    response_tokens: int = 0
    """Generated tokens."""
    responses: int = 0
    seconds: float = 0.0
    """Wall-clock time in the model and in sampling."""


@dataclass(slots=True, kw_only=True)
class Response:
    """What a backend generated for a prompt."""

    ids: IntArray
    """[R] generated ids, the stop id included."""
    logprobs: FloatArray
    """[R] log-probability of each id under the sampling distribution."""
    entropies: FloatArray | None
    """[R] entropy of the sampling distribution at each id, in nats; None from a backend that does not compute them."""
    stopped: bool
    """Whether the last id is a stop id; if not, the response reached its maximum length."""


class GeneratorSession(Protocol):
    """Generates the responses of one episode."""

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        """Return the response to the last message."""
        ...

    def follow(self, messages: Sequence[Message], text: str) -> Completion:
        """Return a response that was not generated, as one with token ids, and continue the row after it (`warmstart.dagger`)."""
        ...

    def close(self) -> None:
        """Release the session's resources (its place in the cache)."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A session agent to which the trainer publishes weights."""

    policy_version: int
    """Number of reinforcement steps behind the current weights."""
    shares_weights: bool
    """Whether the generator reads the tensors of the trained model. If not, they are copied, and each copy is followed by a parity check
    (`empg_gym.trainers.generate.parity`)."""

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the generator's weights."""
        ...

    @property
    def usage(self) -> Usage:
        """The counters so far."""
        ...

    def session(self, env: LLMAgentEnv | None, seed: int) -> GeneratorSession:
        """Return a session for one episode, whose only source of randomness is `seed`."""
        ...

    def with_sampling(self, sampling: Sampling, max_response_tokens: int | None = None) -> Generator:
        """Return a generator that always shares these weights, also after updates, but draws tokens with other settings.

        Args:
            sampling: how it draws tokens.
            max_response_tokens: its maximum response length, if shorter than that of this generator.
        """
        ...

    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Use new weights from the next token on, and discard everything computed with the old ones.

        Args:
            named_tensors: parameters by the names of `model.named_parameters()`.
            version: the new `policy_version`.
        """
        ...

    def close(self) -> None:
        """Release memory and processes."""
        ...
