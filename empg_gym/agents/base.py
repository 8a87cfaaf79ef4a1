"""What an agent is.

Vocabulary:
    agent      anything with `act(messages, *, tools=None)` that returns a `Completion` or a text, at once or as an awaitable;
    session    what answers in one episode: an agent that may keep something for its length (a token row, a generator, a process);
    BaseAgent  the full contract, which rollouts and evaluations are typed against. `empg_gym.agents.as_agent` adapts everything else.

`messages` are chat messages `{"role": "system" | "user" | "assistant", "content": str}`, the last one from the user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from empg_gym.dialogue import Dialogue
from empg_gym.errors import ConfigError
from empg_gym.trajectory import Completion

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv
    from empg_gym.recipe import EnvRecipe

Message = Mapping[str, Any]
Reply = Completion | str


@runtime_checkable
class Agent(Protocol):
    """Answers a conversation."""

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        """Return the response to the last message."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrigin:
    """The training run that an agent's model comes from, so that an evaluation can use the settings that the model learned with."""

    folder: Path
    """Folder of the run."""
    recipe: EnvRecipe
    """The run's training environment."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the agent that the run decided because the user did not, by name."""
    ignored: Mapping[str, Any] = field(default_factory=dict)
    """Options of the agent in the run's files that are out of the range a file may decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """What an evaluation needs to know about an agent. Every field has a default.

    Example:
        `AgentInfo(name="openai:my-model", concurrency=64, end_on_cut_response=False)`

    Raises:
        ConfigError: a concurrency below 1.
    """

    name: str = ""
    """Label in results; empty where the caller names the agent."""
    concurrency: int = 32
    """Episodes to run at once where the user does not say."""
    end_on_cut_response: bool = True
    """Whether an episode ends with a response cut at its token limit, because the row cannot continue after it."""
    dialogue: Dialogue | None = None
    """The agent's own text format, for environments without a native protocol."""
    settings: Mapping[str, Any] | None = None
    """What decides the answers, for the configuration file of a run; without secrets. None: not known."""
    training: TrainingOrigin | None = None
    """The training run that the agent's model comes from."""
    tokenizer: Path | None = None
    """`tokenizer.json` of the agent's model; an evaluation keeps a copy, so that its page shows tokens as texts."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"the agent's preferred_concurrency must be at least 1, not {self.concurrency}")


class BaseAgent(ABC):
    """The contract of an agent. Only `session` is required."""

    @property
    def info(self) -> AgentInfo:
        """Name, defaults and settings; may change after `check`, which can find out the name of a model."""
        return AgentInfo()

    @abstractmethod
    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        """Return what plays one episode of `env`; all its randomness comes from `seed`.

        Called after the environment's reset. If the session has a method `close`, it is called when the episode is over.
        """

    # The optional parts do nothing by default.

    async def check(self) -> None:  # noqa: B027
        """Raise an `EMPGGymError` if the agent cannot play, before any episode starts."""

    async def aclose(self) -> None:  # noqa: B027
        """Release what belongs to the running event loop, such as connections. The agent may be used again."""

    def close(self) -> None:  # noqa: B027
        """Release everything. Called once, by the code that made the agent."""
