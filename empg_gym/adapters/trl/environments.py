"""The benchmarks as environments whose actions are tools, for `GRPOTrainer(environment_factory=…)`.

What TRL asks for, and what follows:
    - It looks for functions on the class: `reset` and `get_reward` have fixed meanings, every other public method is a tool. So each
      benchmark is a class with one method per tool, and everything else is private or a property.
    - `reset` gets all columns of the row and appends its return value to the last message, so that message ends with the observation.
    - There is no signal for the end: a call after it returns a fixed text, and the reward stays.
"""

from __future__ import annotations

from typing import Any, ClassVar

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.opening import open_env
from empg_gym.adapters.session import Session
from empg_gym.agents.tool_dialogue import ToolDialogue
from empg_gym.chat_settings import ChatSettings
from empg_gym.trajectory import Completion


class _ToolEnvironment:
    """Common part.

    Args:
        split: split of rows that name none.
        url: address of a served environment; None makes it here.
        kwargs: further arguments of `gymnasium.make`; none with `url`.
    """

    _env_id: ClassVar[str]
    _kwargs: ClassVar[dict[str, Any]] = {}
    """Keyword arguments that tool calls need."""

    def __init__(self, split: str = "train", *, url: str | None = None, **kwargs: Any) -> None:
        self._split = split
        self._name, arguments = _opened(type(self), url, kwargs)
        self._session = Session(arguments, chat=_CHAT)
        open_env(self._name, split, arguments, _CHAT).close()  # a mistake is reported here, before training starts

    def reset(self, task: Any = None, seed: Any = None, split: Any = None, **_: Any) -> str:
        """Start the episode of a row and return its first observation.

        Raises:
            TaskError: the split lacks the task.
        """
        columns = {"task": task, "seed": seed, "split": split}
        return self._session.reset(EpisodeTask.from_columns(columns, env_id=self._name, split=self._split))

    def get_reward(self) -> float:
        """Return the sum of the rewards of the episode."""
        return self._session.metrics["reward"]

    @property
    def session(self) -> Session:
        """The episode with its record and metrics, for reward functions that get `environments`."""
        return self._session

    def _call(self, name: str, **arguments: Any) -> str:
        return self._session.step(Completion(text="", tool_calls=({"name": name, "arguments": arguments},))).message


class ALFWorldTools(_ToolEnvironment):
    """ALFWorld with the tool `act`."""

    _env_id = "EMPG/ALFWorld-v0"

    def act(self, action: str) -> str:
        """Carry out one action in the household and observe what happens.

        Args:
            action: The action, such as "go to shelf 1" or "take mug 1 from shelf 1".
        """
        return self._call("act", action=str(action))


class WebShopTools(_ToolEnvironment):
    """WebShop with the tools `search` and `click`."""

    _env_id = "EMPG/WebShop-v0"

    def search(self, words: str) -> str:
        """Look for products.

        Args:
            words: What to search for.
        """
        return self._call("search", words=str(words))

    def click(self, thing: str) -> str:
        """Click on something that the page shows.

        Args:
            thing: Its text: a button, a product code or an option value.
        """
        return self._call("click", thing=str(thing))


class DeepSearchTools(_ToolEnvironment):
    """Deep Search with the tools `search`, `visit` and `answer`."""

    _env_id = "EMPG/DeepSearch-v0"
    _kwargs: ClassVar[dict[str, Any]] = {"protocol": "plain"}

    def search(self, query: str) -> str:
        """Look up passages.

        Args:
            query: What to look for.
        """
        return self._call("search", query=str(query))

    def visit(self, url: str, goal: str = "") -> str:
        """Read one page.

        Args:
            url: Address of the page, as a search result gives it.
            goal: What to look for on the page.
        """
        return self._call("visit", url=str(url), goal=str(goal))

    def answer(self, answer: str) -> str:
        """Give the final answer and end the episode.

        Args:
            answer: The answer itself, as short as possible.
        """
        return self._call("answer", answer=str(answer))


def _opened(environment: type[_ToolEnvironment], url: str | None, kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the id or address of the environment, and the arguments that it is made with."""
    return (environment._env_id, {**environment._kwargs, **kwargs}) if url is None else (url, kwargs)


_CHAT = ChatSettings(dialogue=ToolDialogue())


def tool_rows(
    environment: type[_ToolEnvironment],
    *,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    url: str | None = None,
    **kwargs: Any,
) -> list[dict[str, Any]]:
    """Return the rows of a data set for `environment_factory`: `prompt` with the rules, and the columns that `reset` reads.

    Args:
        environment: one of the classes of this module.
        split: name of the split.
        limit: number of tasks; None returns all.
        seed: seed of the first task.
        url: address of a served environment; None makes it here.
        kwargs: further arguments of `gymnasium.make`; none with `url`.

    Raises:
        ConfigError: the split or an argument is unknown.
        EnvironmentFailure: no server answers at `url`.
    """
    name, arguments = _opened(environment, url, kwargs)
    env = open_env(name, split, arguments, _CHAT)
    prompt = [{"role": "system", "content": env.system_prompt}, {"role": "user", "content": ""}]
    env.close()
    tasks = episode_tasks(name, split=split, limit=limit, seed=seed, **arguments)
    return [{"prompt": [dict(message) for message in prompt], **task.columns()} for task in tasks]
