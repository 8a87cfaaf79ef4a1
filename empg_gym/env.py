"""The contract that the three benchmarks share: text in, text out.

Vocabulary:
    task         one problem of a benchmark (a household with a goal, a shopping instruction, a question), named by a string id;
    split        an ordered, fixed list of tasks; splits of a benchmark never share a task;
    admissible   an action that the benchmark can carry out in the current state, or a template of such actions;
    state        everything that decides how an episode continues, as one picklable value;
    state key    a short name of the benchmark's own part of it, without steps and chance (see `TextEnv.state_key`).

Rules:
    - `reset(seed=s)` draws the task from `self.np_random` alone: the same seed gives the same episode in every process.
    - `step` accepts any string; text that a benchmark can't parse gets the benchmark's reply and `info["valid_action"] = False`.
    - The empty action is one of these and leaves the task unchanged: it stands for a response that could not be parsed.
    - A task that ends sets `terminated`; the step limit sets `truncated`; one step may set both.
    - After the end a benchmark replies as its upstream does; `terminated` and `truncated` keep their values.
    - `info` has the same keys in all benchmarks; nothing in it reveals the answer.
"""

from __future__ import annotations

import inspect
import operator
import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar, NamedTuple, Self

import gymnasium as gym

from empg_gym.errors import ConfigError, TaskError, nearest
from empg_gym.own_state import KeyPart as KeyPart
from empg_gym.own_state import freeze, own_state
from empg_gym.spaces import UnicodeText

_INDEX_DIGITS = 18
"""Maximum number of digits of an index given as text."""


class Outcome(NamedTuple):
    """The result of one action."""

    observation: str
    reward: float
    terminated: bool
    valid_action: bool
    """Whether the benchmark could carry out the action; an admissible action without effect is valid."""


class GoldAnswer(NamedTuple):
    """The gold answer of a task, for trainers that score it. Never part of an observation, of `info` or of a recorded trajectory."""

    before: str
    """What an action that gives the answer has before it, in the benchmark's own way of writing: a verb, tags, reasoning."""
    text: str
    """The answer; where several are accepted, the first."""


@dataclass(frozen=True, slots=True)
class State:
    """A point in an episode, returned by `TextEnv.snapshot`: opaque, picklable, valid in any environment of the same data and variant."""

    benchmark: str
    fingerprint: str
    """`TextEnv.fingerprint`: identifies the data."""
    variant: str
    """`TextEnv._variant`."""
    task: str
    step: int
    ended: tuple[bool, bool]
    """(terminated, truncated)"""
    rng: dict[str, Any]
    """State of the environment's random generator."""
    payload: Any
    """The benchmark's part; immutable, so that a snapshot can be restored many times."""


class TextEnv(gym.Env[str, str], ABC):
    """Base class of the benchmarks. See the module docstring for the rules.

    A benchmark implements `num_tasks`, `_start`, `_apply` and `success`, and whatever else it knows better than the defaults; this class
    keeps the step count, the limits and the common keys of `info`. `from_gymnasium` adapts an environment of any other class.

    Args:
        split: name of the list of tasks to draw from.
        max_steps: number of actions after which the episode is truncated.
        render_mode: None or "ansi" (`render` returns the last observation).

    Raises:
        ConfigError: the split is unknown or not a string, the step limit is below 1, or the render mode is unknown.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (the type is Gymnasium's)
    benchmark: str = ""
    """Short name, as in the environment id: "ALFWorld"; by default the name of the class."""
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    version: ClassVar[str] = "0"
    """Version of texts, rules and generated worlds; changes whenever an episode could differ."""
    inheritable: ClassVar[frozenset[str]] = frozenset({"max_steps"})
    """Arguments that an evaluation may take from the files of a run (`empg_gym.inherited`): numbers and names of built-in variants. Never
    one that leads to a file, an address, a program or another way of scoring."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.benchmark = cls.benchmark or cls.__name__

    @staticmethod
    def from_gymnasium(env: gym.Env[Any, Any], **options: Any) -> TextEnv:
        """Return a text environment around a Gymnasium environment with text observations and actions.

        Args:
            env: the environment.
            options: `rules`, `success`, `score`, `expert` and others; see `empg_gym.gymnasium_env.GymnasiumTextEnv`.

        Raises:
            ConfigError: its observations or actions are not texts, or an option can't be used.

        Example:
            >>> env = TextEnv.from_gymnasium(gym.make("my_module:My/Env-v0"), rules='Answer with "left" or "right".')
        """
        from empg_gym.gymnasium_env import GymnasiumTextEnv

        return GymnasiumTextEnv(env, **options)

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Refuse unknown arguments with the name of the nearest known one, through `gymnasium.make` too."""
        parameters = inspect.signature(cls.__init__).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for name in named:
                if name not in parameters:
                    raise ConfigError(f"{cls.benchmark} takes no argument {name!r}; {nearest(name, [*parameters][1:])}")
        return super().__new__(cls)

    def __init__(self, *, split: str = "train", max_steps: int = 50, render_mode: str | None = None) -> None:
        if not isinstance(split, str):
            raise ConfigError(f"split must be the name of a split, a string such as {self.splits[0]!r}, not {split!r}")
        if split not in self.splits:
            raise ConfigError(f"{self.benchmark} has no split {split!r}; {nearest(split, self.splits)}")
        if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
            raise ConfigError(f"max_steps must be an integer of at least 1, not {max_steps!r}")
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"render_mode must be None or 'ansi', not {render_mode!r}")
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self.split = split
        self.max_steps = max_steps
        self.render_mode = render_mode
        self._task: str | None = None
        self._step = 0
        self._terminated = False
        self._truncated = False
        self._observation = self._first_observation = ""

    # Implemented by each benchmark

    @property
    @abstractmethod
    def num_tasks(self) -> int:
        """Number of tasks in the split."""

    @abstractmethod
    def _start(self, task: str) -> str:
        """Start `task` and return the first observation."""

    @abstractmethod
    def _apply(self, action: str) -> Outcome:
        """Carry out one action."""

    @property
    @abstractmethod
    def success(self) -> bool:
        """Whether the task has been solved, as the benchmark defines it."""

    # Implemented where a benchmark knows better

    def task_id(self, index: int) -> str:
        """Return the id of the task at `index`, 0 <= index < num_tasks; by default the split and the index, as in "train-17"."""
        return f"{self.split}-{index}"

    def _has_task(self, task: str) -> bool:
        """Return whether `task` is an id in this split."""
        return task in self._task_ids

    def _admissible(self) -> list[str]:
        """Return the admissible actions, or templates with `<name>` for free text, in the benchmark's own order; by default none."""
        return []

    def _save(self) -> Any:
        """Return the benchmark's part of a snapshot: immutable and picklable; by default the attributes that the subclass set."""
        return pickle.dumps(own_state(self, _BASE_ATTRIBUTES))

    def _load(self, payload: Any) -> None:
        """Restore the return value of `_save`; the task has been started already."""
        vars(self).update(pickle.loads(payload))

    def _state_key(self) -> KeyPart:
        """Return the benchmark's state in a canonical form; see `state_key` for what belongs to it.

        By default all attributes that the subclass set, which must be plain values.
        """
        return tuple((name, freeze(value, name)) for name, value in sorted(own_state(self, _BASE_ATTRIBUTES).items()))

    @property
    def instruction(self) -> str:
        """The goal of the current task, in words; by default the first observation."""
        return self._first_observation

    @property
    def score(self) -> float:
        """The benchmark's score of the episode so far, 0..1; by default 1 for a solved task."""
        return float(self.success)

    def expert(self) -> str | None:
        """Return an action on a path to success from the current state, or None if there is none.

        Raises:
            TaskError: before the first reset.
        """
        return None

    def expert_thought(self) -> str:
        """Return the purpose of the action that `expert` returns, in one sentence, or an empty text. By default empty.

        Raises:
            TaskError: before the first reset.
        """
        return ""

    @property
    def rules(self) -> str:
        """What an agent must know: the setting and the grammar of actions. Part of the system prompt; by default empty."""
        return ""

    @property
    def fingerprint(self) -> str:
        """Short hash of the data that episodes are built from: equal fingerprints give equal episodes.

        By default of the class alone, which suits environments that read no data.
        """
        kind = type(self)
        return blake2b(f"{kind.__module__}.{kind.__qualname__} {self.version}".encode(), digest_size=8).hexdigest()

    def gold_answer(self) -> GoldAnswer | None:
        """Return the gold answer of the current task; None where the benchmark has no such answers, or this task's is unpublished.

        Raises:
            TaskError: before the first reset.
        """
        return None

    @property
    def task_type(self) -> str:
        """Kind of the current task, for reports; empty if the benchmark has no kinds."""
        return ""

    @property
    def notice(self) -> str:
        """Text appended to every observation in the current state; usually empty."""
        return ""

    def with_notice(self, text: str) -> str:
        """Return an observation, or a message that replaces it, with the notice appended."""
        return f"{text.rstrip()}\n\n{self.notice}" if self.notice else text

    @property
    def split_rule(self) -> str:
        """One sentence that says which tasks the split holds, so that results can be compared; may be empty."""
        return ""

    @property
    def native_protocol(self) -> bool:
        """Whether actions are written in the benchmark's own protocol, reasoning included.

        If so, an agent wrapper passes responses through unchanged and prompts with `rules` alone.
        """
        return False

    @property
    def does_io(self) -> bool:
        """Whether a step may wait for something outside the process, such as a browser or a network."""
        return False

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The actions as a list of OpenAI tools (JSON schema), for agents that call tools instead of writing actions."""
        parameters = {"type": "object", "properties": {"action": {"type": "string"}}, "required": ["action"]}
        function = {"name": "act", "description": "Carry out one action in the environment.", "parameters": parameters}
        return [{"type": "function", "function": function}]

    def tool_action(self, name: str, arguments: dict[str, Any]) -> str:
        """Return the action text for a call of one of `tools`; a call of any other name gives an action that can't be parsed."""
        return str(arguments.get("action", "")) if name == "act" else f"{name}({arguments})"

    @property
    def _variant(self) -> str:
        """How the data is presented, such as a wording or a protocol: a snapshot can be restored only in the same variant."""
        return ""

    def _extras(self) -> dict[str, Any]:
        """Return additional `info` entries, documented on the benchmark's card."""
        return {}

    def find_task(self, wanted: object) -> str:
        """Return the id of the task that `wanted` names: an id, or an index into the split.

        An integer is an index. A string is an id if the split has that id, even if it consists of digits; other strings of digits are
        indices, as given on a command line.

        Raises:
            TaskError: the split has no such task.
        """
        if isinstance(wanted, str):
            if self._has_task(wanted):
                return wanted
            if not (wanted.isdecimal() and len(wanted) <= _INDEX_DIGITS):
                raise TaskError(
                    f"split {self.split!r} of {self.benchmark} has no task {wanted[:80]!r}; "
                    f"it has {self.num_tasks} tasks, the first is {self.task_id(0)!r}"
                )
            wanted = int(wanted)
        try:
            if isinstance(wanted, bool):  # an int in Python, a mistake here
                raise TypeError
            index = operator.index(wanted)  # type: ignore[arg-type]
        except TypeError:
            raise TaskError(f"a task is named by its index (an integer) or its id, not by {type(wanted).__name__}") from None
        if not 0 <= index < self.num_tasks:
            raise TaskError(f"split {self.split!r} of {self.benchmark} has tasks 0..{self.num_tasks - 1}, not {index}")
        return self.task_id(index)

    def _sample_task(self) -> str:
        """Draw a task from `self.np_random`; uniform unless the benchmark overrides it."""
        return self.task_id(int(self.np_random.integers(self.num_tasks)))

    # Gymnasium

    @property
    def task(self) -> str:
        """Id of the current task.

        Raises:
            TaskError: before the first reset.
        """
        if self._task is None:
            raise TaskError("no task yet: call reset() first")
        return self._task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start a task.

        Args:
            seed: seeds `np_random`, the source of the task and of everything random in it.
            options: `{"task": index_or_id}` selects the task.

        Raises:
            TaskError: the split has no such task.
            ConfigError: an unknown option.
        """
        super().reset(seed=seed)
        chosen = dict(options or {})
        wanted = chosen.pop("task", None)
        if chosen:
            raise ConfigError(f"unknown reset option {min(chosen)!r}; {nearest(min(chosen), ['task'])}")
        task = self._sample_task() if wanted is None else self.find_task(wanted)
        self._task = task
        self._step = 0
        self._terminated = self._truncated = False
        self._first_observation = self._start(task)
        self._observation = self.with_notice(self._first_observation)
        return self._observation, self._info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out `action`; any string is accepted.

        Raises:
            TaskError: before the first reset, or the action is not a string.
        """
        if self._task is None:
            raise TaskError("no task yet: call reset() before step()")
        if not isinstance(action, str):
            raise TaskError(f"step() expects an action as text, a str, not {type(action).__name__}")
        outcome = self._apply(action)
        self._step += 1
        self._terminated = self._terminated or outcome.terminated
        self._truncated = self._truncated or self._step >= self.max_steps
        self._observation = self.with_notice(outcome.observation)
        return self._observation, outcome.reward, self._terminated, self._truncated, self._info(outcome.valid_action)

    def render(self) -> str | None:
        return self._observation if self.render_mode == "ansi" else None

    # Branching

    def snapshot(self) -> State:
        """Return the current state: exact, cheap and picklable."""
        return State(
            benchmark=self.benchmark,
            fingerprint=self.fingerprint,
            variant=self._variant,
            task=self.task,
            step=self._step,
            ended=(self._terminated, self._truncated),
            rng=dict(self.np_random.bit_generator.state),
            payload=(self._observation, self._save()),
        )

    def restore(self, state: State) -> tuple[str, dict[str, Any]]:
        """Restore a state that `snapshot` returned, here or in another environment with the same data and variant.

        Returns:
            Observation and info of that state.

        Raises:
            TaskError: `state` is not a `State`, or belongs to another benchmark, to a task outside this split, to other data or to
                another variant.
        """
        if not isinstance(state, State):
            raise TaskError(f"restore expects a State as returned by snapshot(), not {type(state).__name__}")
        if state.benchmark != self.benchmark:
            raise TaskError(f"a snapshot of {state.benchmark} can't be restored in {self.benchmark}")
        if not self._has_task(state.task):
            raise TaskError(f"the snapshot's task {state.task!r} is not in split {self.split!r}")
        if state.fingerprint != self.fingerprint:
            raise TaskError(
                f"the snapshot belongs to other data ({state.fingerprint}) than this environment's ({self.fingerprint}); "
                "restore it in an environment made with the same arguments"
            )
        if state.variant != self._variant:
            raise TaskError(
                f"the snapshot belongs to the variant {state.variant!r}, this environment is {self._variant!r}; "
                "restore it in an environment made with the same arguments"
            )
        if self._task != state.task:
            self._task = state.task
            self._first_observation = self._start(state.task)
        self._step = state.step
        self._terminated, self._truncated = state.ended
        self.np_random.bit_generator.state = state.rng
        self._observation, payload = state.payload
        self._load(payload)
        return self._observation, self._info(True)

    def state_key(self) -> str:
        """Return a short name of the current state, equal exactly when the states are equal; for step-level methods.

        A state is what decides which actions are admissible from now on, and what each of them shows and achieves:

        - included: benchmark, version, data, variant (wording, observation mode, ...), task, the benchmark's own state, and whether
          the task has ended;
        - excluded: the number of steps and the step limit, the last and earlier observations, the path to this state unless it can
          still have an effect, the memory of `expert`, and the random generator. What a random action will draw is chance, so equal
          states of episodes with different seeds have equal keys.

        Keys are the same in every process. Each benchmark documents its part in `_state_key`.

        Returns:
            32 hexadecimal digits.

        Raises:
            TaskError: before the first reset.
        """
        state = (self.benchmark, self.version, self.fingerprint, self._variant, self.task, self._terminated, self._state_key())
        return blake2b(repr(state).encode(), digest_size=16).hexdigest()

    def task_key(self) -> str:
        """Return a short name of the current task's content right after `reset`, for the fingerprints of task panels.

        Equal keys mean the same task in the same world, whichever files it comes from and however it is presented: the key does not
        depend on paths, formats of files and stores, wordings or observation modes.

        Returns:
            32 hexadecimal digits.

        Raises:
            TaskError: before the first reset.
        """
        content = (self.benchmark, self.version, self.task, self._task_content())
        return blake2b(repr(content).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    # Private

    @cached_property
    def _task_ids(self) -> frozenset[str]:
        return frozenset(map(self.task_id, range(self.num_tasks)))

    def _task_content(self) -> KeyPart:
        """Return what `task_key` names. By default the instruction and the state; a benchmark overrides it if these don't hold all."""
        return self.instruction, self._state_key()

    def _info(self, valid_action: bool) -> dict[str, Any]:
        info = {
            "task": self._task,
            "instruction": self.instruction,
            "admissible_actions": self._admissible(),
            "valid_action": valid_action,
            "success": self.success,
            "score": self.score,
            "step": self._step,
        }
        info.update(self._extras())
        return info


_BASE_ATTRIBUTES = frozenset(
    {"observation_space", "action_space", "split", "max_steps", "render_mode", "spec", "benchmark", "_np_random", "_np_random_seed"}
    | {"_task", "_task_ids", "_step", "_terminated", "_truncated", "_observation", "_first_observation"}
)
"""Attributes that are not a subclass's own state."""
