"""The record of an episode, and its one form on disk: JSON lines.

Vocabulary:
    step         an observation, the agent's whole response to it, the action in the response and its effect on the environment;
    row          the token sequence that a language model read and wrote. A step appends to the row; where the conversation was rewritten
                 (a history window, a chat template that drops earlier thoughts) the step opens a new row;
    trajectory   all steps of an episode with what identifies it (environment, version, data, task, seed, policy).

Rules:
    - Token ids are those that the model read and wrote; text is never tokenized again. Row r of a trajectory is the concatenation of
      `prompt_token_ids` and `response_token_ids` of its steps, in order; only response tokens were generated.
    - Arrays are little-endian int32 (ids) and float32 (logprobs, entropies), on disk as base64, so that a round trip is exact.
    - Lines are ASCII: invalid Unicode (a lone surrogate from an agent) survives a round trip.
    - A line names its format and version; a reader refuses an unknown version, and values of another type or without bounds: the file may
      be somebody else's. A count beyond `LARGEST_COUNT`, which earlier versions wrote, is read as unknown.
    - Where the environment or the agent failed, the last step has `error`: its observation is what the agent saw, its response what the
      agent had answered, if it had. Such a trajectory never enters a loss or a score.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empg_gym.errors import DataError

FORMAT = "empg-gym/trajectory"
FORMAT_VERSION = 1

LARGEST_COUNT = 2**53
"""Largest count (tokens, versions) and whole number; JSON readers of other languages agree up to here."""

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]


class StopReason(StrEnum):
    """Why an episode ended. Limits are checked in the order of this list, after every step."""

    TERMINATED = "terminated"
    """The environment ended the task: solved, bought, answered."""
    STEP_LIMIT = "step_limit"
    """The environment's or the rollout's limit of steps."""
    ROW_TOKENS = "row_tokens"
    """The row reached its token limit, or the next observation would not fit."""
    RESPONSE_TOKENS = "response_tokens"
    """A response was cut at its token limit."""
    TIME_LIMIT = "time_limit"
    """The episode took too many seconds."""
    AGENT_STOPPED = "agent_stopped"
    """The agent gave up (a person left the game)."""
    ERROR = "error"
    """The environment or the agent failed; such a trajectory never enters a loss or a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An agent's answer. Only `text` is required; a language model adds its tokens.

    Example:
        `Completion(text="go to shelf 1", token_ids=np.array([5, 9, 2]), entropies=np.array([0.1, 1.2, 0.0]))`
    """

    text: str
    """The whole response, end-of-turn token excluded."""
    finish_reason: str = "stop"
    """"stop"; "length" if the response was cut at its token limit; "content_filter" if the server withheld some of it."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Tool calls, each `{"name": str, "arguments": dict}`; the first one replaces an action in the text. Arguments that are a text and not
    a JSON object are a malformed response, whose transcript shows the text."""
    prompt_token_ids: IntArray | None = None
    """[P] ids that the row gained since the last response; the whole prompt if `new_row` is set."""
    token_ids: IntArray | None = None
    """[R] generated ids, end-of-turn token included."""
    logprobs: FloatArray | None = None
    """[R] log-probability of each generated id under the sampling distribution."""
    entropies: FloatArray | None = None
    """[R] entropy of the sampling distribution at each generated id, in nats."""
    token_texts: tuple[str, ...] | None = None
    """[R] text of each generated token, for display, from a server whose tokenizer is not here."""
    entropy_is_bound: bool = False
    """Whether the entropies come from top-k log-probabilities, which makes them lower bounds."""
    new_row: bool = False
    """Whether the response opens a new row."""
    policy_version: int | None = None
    """Number of policy updates that the weights had seen when the response started."""
    prompt_tokens: int | None = None
    """Tokens of the whole prompt, as billed."""
    completion_tokens: int | None = None
    """Tokens of the response, as billed."""
    stop: bool = False
    """Whether the agent leaves the episode; the text is then not carried out."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One response and its effect on the environment."""

    observation: str
    """The message that the agent answered."""
    response: str
    thought: str
    action: str
    """The action given to the environment; empty where the response was malformed."""
    valid_action: bool
    reward: float
    malformed: bool = False
    """Whether the response did not follow the dialogue format; the environment was then stepped with the empty action."""
    admissible_actions: tuple[str, ...] = ()
    """Actions that were admissible when the agent chose."""
    prompt_token_ids: IntArray | None = None
    response_token_ids: IntArray | None = None
    logprobs: FloatArray | None = None
    entropies: FloatArray | None = None
    token_texts: tuple[str, ...] | None = None
    """`Completion.token_texts` of the response."""
    entropy: float | None = None
    """Mean of `entropies` in nats, end-of-turn token included; None if the agent returned none."""
    entropy_is_bound: bool = False
    row: int = 0
    """Index of the token row in the trajectory."""
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    policy_version: int | None = None
    """`Completion.policy_version` of the response."""
    state_key: str = ""
    """`TextEnv.state_key()` of the state that the agent saw, before the action; empty where it was not recorded."""
    model_seconds: float = 0.0
    """Wall-clock seconds until the agent had answered."""
    env_seconds: float = 0.0
    """Wall-clock seconds of the environment's step."""
    error: str | None = None
    """What failed in this step: the agent, then `response` is empty, or the environment. Only the last step can have one."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Numbers that a trainer adds for reports, such as the advantage before and after modulation."""


@dataclass(slots=True, kw_only=True)
class Trajectory:
    """A recorded episode with everything that is needed to score it, train on it and repeat it."""

    env_id: str
    env_version: str
    data_fingerprint: str
    split: str
    task: str
    instruction: str
    task_type: str = ""
    seed: int | None = None
    agent: str = ""
    dialogue: str = ""
    system_prompt: str = ""
    steps: list[Step] = field(default_factory=list)
    final_observation: str = ""
    """The environment's last observation."""
    final_state_key: str = ""
    """`TextEnv.state_key()` after the last step; empty where it was not recorded."""
    total_reward: float = 0.0
    score: float = 0.0
    success: bool = False
    stop_reason: StopReason | None = None
    """None while the episode runs."""
    policy_version: int | None = None
    """Policy version of the first response; every step has its own."""
    group: int = 0
    """Episodes of one group share task and seed; group-relative advantages compare them."""
    repeat: int = 0
    """Number of the episode in its group."""
    parent: int | None = None
    """`repeat` of the episode of the same group that this one was branched from; None for an episode from the start."""
    branch_step: int = 0
    """Steps shared with the parent: its path begins with the first `branch_step` steps of the parent's path. `steps` holds the rest."""
    attempts: int = 1
    """Attempts, failed ones included."""
    error: str | None = None
    """Why the episode failed, where `stop_reason` is ERROR."""
    info: dict[str, Any] = field(default_factory=dict)
    """The benchmark's own entries of the last `info` that JSON can hold (parts of a reward, a domain). After an error that is not an
    `EMPGGymError`, "traceback" has the place."""

    points: list[Any] = field(default_factory=list, repr=False, compare=False)
    """`LLMAgentEnv.snapshot()` before each of `steps`, where a rollout was asked to keep them. In memory only, never written."""

    @property
    def num_tokens(self) -> int:
        """Number of generated tokens."""
        return sum(len(step.response_token_ids) for step in self.steps if step.response_token_ids is not None)

    def to_messages(self) -> list[dict[str, str]]:
        """Return the whole conversation as chat messages: the system prompt, then each observation and its response.

        The prompts of an agent with a limited history showed less of it. A branched episode begins at its branch; see `path_of`.
        """
        messages = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        for step in self.steps:
            messages += [{"role": "user", "content": step.observation}, {"role": "assistant", "content": step.response}]
        return messages

    def to_json(self) -> str:
        """Return one line, without the line break."""
        record: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION}
        for item in dataclasses.fields(self):
            if item.name != "points":
                record[item.name] = getattr(self, item.name)
        record["steps"] = [_step_record(step) for step in self.steps]
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Trajectory:
        """Read a line that `to_json` wrote.

        Raises:
            DataError: the line is not a trajectory, is damaged, or has an unknown format version.
        """
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not a trajectory: the line is not JSON ({error})") from None
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise DataError(f"not a trajectory: the line has no field format={FORMAT!r}")
        version, _ = record.pop("version", None), record.pop("digest", None)
        if version != FORMAT_VERSION:
            raise DataError(f"unknown trajectory format version {version!r} (this release reads {FORMAT_VERSION}); update empg-gym")
        try:
            steps = [Step(**{name: _decode(value) for name, value in step.items()}) for step in record.pop("steps")]
            for step in steps:
                step.admissible_actions = tuple(step.admissible_actions)
                step.token_texts = None if step.token_texts is None else tuple(step.token_texts)
                _check(step, _STEP_TYPES)
            reason = record.pop("stop_reason")
            read = cls(steps=steps, stop_reason=None if reason is None else StopReason(reason), **record)
            _check(read, _TRAJECTORY_TYPES)
            return read
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"a damaged trajectory: {error}") from None


def path_of(trajectory: Trajectory, others: Iterable[Trajectory]) -> list[Step]:
    """Return all steps from the start of the episode to the end of `trajectory`, those that it shares with its ancestors included.

    Args:
        trajectory: an episode, branched or not.
        others: trajectories among which its ancestors are.

    Raises:
        DataError: an ancestor is missing.
    """
    if trajectory.parent is None:
        return list(trajectory.steps)
    by_repeat = {item.repeat: item for item in others if item.group == trajectory.group}
    path = list(trajectory.steps)
    child = trajectory
    while child.parent is not None:
        parent = by_repeat.get(child.parent)
        if parent is None:
            raise DataError(
                f"episode {trajectory.repeat} of group {trajectory.group} was branched from episode {child.parent}, which is missing"
            )
        path = parent.steps[: child.branch_step - parent.branch_step] + path
        child = parent
    return path


def _step_record(step: Step) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name in _STEP_FIELDS:
        value = getattr(step, name)
        if value is not None:
            record[name] = _encode(value) if isinstance(value, np.ndarray) else value
    return record


_STEP_FIELDS = tuple(item.name for item in dataclasses.fields(Step))


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (_is_integer(value) and abs(value) <= LARGEST_COUNT)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_array(kind: str) -> Callable[[Any], bool]:
    return lambda value: value is None or (isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == kind)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "int": lambda value: _is_integer(value) and abs(value) <= LARGEST_COUNT,
    "int | None": lambda value: value is None or _is_integer(value),
    "IntArray | None": _is_array("i"),
    "FloatArray | None": _is_array("f"),
    "tuple[str, ...]": lambda value: all(isinstance(item, str) for item in value),
    "tuple[str, ...] | None": lambda value: value is None or all(isinstance(item, str) for item in value),
    "dict[str, float]": lambda value: isinstance(value, dict) and all(isinstance(item, int | float) for item in value.values()),
    "dict[str, Any]": lambda value: isinstance(value, dict),
}
"""Annotation of a field to whether a value from a file suits it."""
_COUNTS = ("prompt_tokens", "completion_tokens", "policy_version")


def _types(kind: type[Any]) -> list[tuple[str, Callable[[Any], bool]]]:
    return [(item.name, _CHECKS[str(item.type)]) for item in dataclasses.fields(kind) if str(item.type) in _CHECKS]


_STEP_TYPES, _TRAJECTORY_TYPES = _types(Step), _types(Trajectory)


def _check(record: Any, types: list[tuple[str, Callable[[Any], bool]]]) -> None:
    """Raise a TypeError if a field has a value of another type; make a count beyond all bounds unknown."""
    for name in _COUNTS:
        value = getattr(record, name, None)
        if value is not None and _is_integer(value) and not 0 <= value <= LARGEST_COUNT:
            setattr(record, name, None)
    for name, suits in types:
        if not suits(getattr(record, name)):
            raise TypeError(f"the field {name} has a value of another type or beyond its bounds")


def _encode(array: NDArray[Any]) -> dict[str, str]:
    kind = "<i4" if array.dtype.kind in "iu" else "<f4"
    return {"dtype": kind, "base64": base64.b64encode(array.astype(kind, copy=False).tobytes()).decode("ascii")}


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"dtype", "base64"}:
        if value["dtype"] not in ("<i4", "<f4"):
            raise ValueError("an array is neither int32 nor float32")
        return np.frombuffer(base64.b64decode(value["base64"]), dtype=value["dtype"]).astype(np.dtype(value["dtype"]).newbyteorder("="))
    return value


def write_trajectories(path: str | Path, trajectories: Iterable[Trajectory], *, edit: Callable[[str], str] = str) -> int:
    """Append trajectories to a JSON-lines file, each line as `edit` returns it, and return their number."""
    count = 0
    with Path(path).open("a", encoding="utf-8") as lines:
        for trajectory in trajectories:
            lines.write(edit(trajectory.to_json()) + "\n")
            count += 1
    return count


def read_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """Yield the trajectories of a JSON-lines file.

    A last line without a line break, as a killed writer leaves it, is skipped.

    Raises:
        DataError: the file is missing, or a complete line is damaged (the error names the line).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no trajectories at {path}: expected a JSON-lines file")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield Trajectory.from_json(line)
            except DataError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
