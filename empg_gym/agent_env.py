"""`LLMAgentEnv`: an environment as a conversation with a language model, recorded step by step.

Rules:
    - Every response is one step and steps the environment: a well-formed response with its action, a malformed one with the empty action,
      which counts as a step and leaves the task as it is. The dialogue's corrective message then replaces the observation.
    - `messages` is what the model answers: the system prompt, then the whole conversation, or its last `history` steps after a message
      that repeats the instruction.
    - `trajectory` is the record of the running episode; every reset starts a new one.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from empg_gym.dialogue import Dialogue, Parsed, get_dialogue
from empg_gym.env import State, TextEnv
from empg_gym.errors import ConfigError
from empg_gym.trajectory import Completion, Step, StopReason, Trajectory

_NOT_ARGUMENTS = "the arguments of its tool call are not a JSON object"
_QUOTED = 200
"""Characters of a broken tool call that the corrective message quotes."""
_COMMON_INFO = frozenset({"task", "instruction", "admissible_actions", "valid_action", "success", "score", "step", "task_type"})


@dataclass(frozen=True, slots=True)
class EpisodePoint:
    """A point of a recorded episode, as `LLMAgentEnv.snapshot` returns it: opaque and picklable."""

    state: State
    """Of the environment."""
    record: Trajectory
    """The trajectory so far."""
    prefix: tuple[Step, ...]
    """Steps before the trajectory's own, if it was branched."""
    message: str
    """What the agent is about to answer."""

    @property
    def path(self) -> tuple[Step, ...]:
        """All steps that lead to the point."""
        return (*self.prefix, *self.record.steps)


class LLMAgentEnv(gym.Wrapper[str, str, str, str], gym.utils.RecordConstructorArgs):
    """Turns any text environment into a multi-step LLM-agent episode.

    It is a Gymnasium environment itself: the observation is the next user message, the action is the model's response, as text or as a
    `Completion` with token ids, logprobs and entropies.

    Args:
        env: a text environment, wrapped or not: one of this package, or any Gymnasium environment with text observations and actions, which
            `TextEnv.from_gymnasium` then adapts.
        dialogue: name of a dialogue format or an instance of one; None means "native" for an environment with a native protocol and
            "think-action" for others. An environment with a native protocol accepts no other text format.
        history: number of earlier steps that `messages` shows; None shows all.
        show_admissible: whether messages list the admissible actions.
        system_prompt: replaces the prompt made from the environment's rules and the dialogue's; "" leaves it out.

    Raises:
        ConfigError: the environment does not exchange texts, the dialogue is unknown or contradicts the environment's native protocol,
            or the history is negative.

    Example:
        >>> env = LLMAgentEnv(gym.make("EMPG/ALFWorld-v0"), dialogue="react")
        >>> message, info = env.reset(seed=0)
        >>> message, reward, terminated, truncated, info = env.step("Thought: start there.\\nAction: go to shelf 1")
        >>> env.trajectory.steps[0].action
        'go to shelf 1'
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        *,
        dialogue: str | Dialogue | None = None,
        history: int | None = None,
        show_admissible: bool = False,
        system_prompt: str | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, dialogue=dialogue, history=history, show_admissible=show_admissible, system_prompt=system_prompt
        )
        if not isinstance(env.unwrapped, TextEnv):
            env = TextEnv.from_gymnasium(env)
        gym.Wrapper.__init__(self, env)
        if history is not None and history < 0:
            raise ConfigError(f"history must be None (all steps) or a number of at least 0, not {history}")
        inner = env.unwrapped
        assert isinstance(inner, TextEnv)
        self.text_env: TextEnv = inner
        self.dialogue = get_dialogue(dialogue or ("native" if self.text_env.native_protocol else "think-action"))
        if self.text_env.native_protocol and not self.dialogue.suits_native:
            raise ConfigError(
                f"{self.text_env.benchmark} has a native protocol here, which the dialogue {self.dialogue.name!r} contradicts; "
                'leave the dialogue out, or make the environment with protocol="plain"'
            )
        self.history = history
        self.show_admissible = show_admissible
        self.system_prompt = self.dialogue.system(self.text_env.rules) if system_prompt is None else system_prompt
        self._trajectory: Trajectory | None = None
        self._prefix: tuple[Step, ...] = ()
        self._message = ""
        self._state_key = ""
        self._info: dict[str, Any] = {}

    @property
    def trajectory(self) -> Trajectory:
        """The record of the episode, running or finished.

        Raises:
            ConfigError: before the first reset.
        """
        if self._trajectory is None:
            raise ConfigError("no trajectory yet: call reset() first")
        return self._trajectory

    @property
    def admissible_actions(self) -> list[str]:
        """Actions that are admissible now, or templates of actions; empty before the first reset."""
        return list(self._info.get("admissible_actions", ()))

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation that the next response answers, as chat messages."""
        return conversation(
            self.path,
            self._message,
            dialogue=self.dialogue,
            system_prompt=self.system_prompt,
            history=self.history,
            instruction=self.trajectory.instruction,
        )

    @property
    def path(self) -> list[Step]:
        """All steps of the episode so far: those before the branch point, if it was branched, and its own."""
        return [*self._prefix, *self.trajectory.steps]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode with the environment's own arguments; returns the first user message and the environment's info."""
        self._trajectory, self._prefix = None, ()
        observation, info = self.env.reset(seed=seed, options=options)
        inner = self.text_env
        self._info = info
        self._message = self.dialogue.observation(observation, self._listed(info))
        self._state_key = inner.state_key()
        self._trajectory = Trajectory(
            env_id=self.spec.id if self.spec is not None else type(inner).__name__,
            env_version=inner.version,
            data_fingerprint=inner.fingerprint,
            split=inner.split,
            task=info["task"],
            instruction=info["instruction"],
            task_type=inner.task_type,
            seed=seed,
            dialogue=self.dialogue.name,
            system_prompt=self.system_prompt,
            final_observation=observation,
            final_state_key=self._state_key,
        )
        return self._message, info

    def step(self, action: str | Completion) -> tuple[str, SupportsFloat, bool, bool, dict[str, Any]]:
        """Carry out the model's response to the last message.

        Returns:
            next message, reward, terminated, truncated, and the environment's info with `malformed` added.
        """
        completion = action if isinstance(action, Completion) else Completion(text=str(action))
        trajectory = self.trajectory
        text, parsed = self._read(completion)
        began = time.perf_counter()
        observation, reward, terminated, truncated, info = self.env.step(parsed.action)
        elapsed = time.perf_counter() - began
        if parsed.problem is None:
            message = self.dialogue.observation(observation, self._listed(info))
        else:
            message = self.text_env.with_notice(self.dialogue.corrective(parsed.problem))
        step = self._new_step(completion, text, parsed)
        step.valid_action, step.reward, step.env_seconds = bool(info["valid_action"]), float(reward), elapsed
        trajectory.steps.append(step)
        if len(trajectory.steps) == 1:
            trajectory.policy_version = completion.policy_version
        trajectory.total_reward += step.reward
        trajectory.success, trajectory.score = bool(info["success"]), float(info["score"])
        trajectory.info = {name: value for name, value in info.items() if name not in _COMMON_INFO and _plain(value)}
        if terminated or truncated:
            trajectory.stop_reason = StopReason.TERMINATED if terminated else StopReason.STEP_LIMIT
        self._message, self._info, self._state_key = message, info, self.text_env.state_key()
        trajectory.final_observation, trajectory.final_state_key = observation, self._state_key
        return message, reward, terminated, truncated, {**info, "malformed": parsed.problem is not None}

    # Branching

    def snapshot(self) -> EpisodePoint:
        """Return the current point of the episode: exact and picklable."""
        record = dataclasses.replace(self.trajectory, steps=list(self.trajectory.steps), info=dict(self.trajectory.info), points=[])
        return EpisodePoint(self.text_env.snapshot(), record, self._prefix, self._message)

    def restore(self, point: EpisodePoint, *, branch: bool = False) -> tuple[str, dict[str, Any]]:
        """Return to a point of an episode, in this environment or in another one of the same recipe.

        Args:
            point: what `snapshot` returned.
            branch: whether a new trajectory starts there, whose steps are its own; otherwise the recorded one continues.

        Returns:
            message and info as at that point.

        Raises:
            TaskError: the point belongs to other data or to another variant of the environment.
        """
        if self._trajectory is None:  # Gymnasium's wrappers want a reset before the first step
            self.env.reset(seed=point.record.seed, options={"task": point.record.task})
        _, info = self.text_env.restore(point.state)
        path = point.path
        if branch:
            self._trajectory = dataclasses.replace(
                point.record, steps=[], info=dict(point.record.info), parent=point.record.repeat, branch_step=len(path), points=[]
            )
            self._prefix = path
        else:
            self._trajectory = dataclasses.replace(point.record, steps=list(point.record.steps), info=dict(point.record.info))
            self._prefix = point.prefix
        self._message, self._info, self._state_key = point.message, info, self.text_env.state_key()
        return self._message, info

    def record_failure(self, error: str, completion: Completion | None = None) -> None:
        """Append a step that failed: what the agent saw, its response if there was one, and the error."""
        answered = Completion(text="") if completion is None else completion
        text, parsed = self._read(answered)
        step = self._new_step(answered, text, parsed if completion is not None else parsed._replace(problem=None))
        step.error = error
        self.trajectory.steps.append(step)

    def _read(self, completion: Completion) -> tuple[str, Parsed]:
        """Return the response as a transcript shows it, and what it says; the action of a malformed response is empty."""
        text, parsed = completion.text, self.dialogue.parse(completion.text)
        if completion.finish_reason == "content_filter":
            return text, parsed._replace(action="", problem="a content filter withheld it")
        if completion.tool_calls:
            call = completion.tool_calls[0]
            name, arguments = str(call.get("name", "")), _arguments(call.get("arguments"))
            if arguments is None:
                said = f"{name}({call['arguments']})"
                return f"{text}\n{said}".strip(), Parsed(completion.text.strip(), "", f"{_NOT_ARGUMENTS}: {said[:_QUOTED]}")
            chosen = self.text_env.tool_action(name, arguments)
            text = text if self.text_env.native_protocol and chosen in text else f"{text}\n{chosen}".strip()
            parsed = parsed._replace(thought=completion.text.strip(), action=chosen, problem=None)
        return text, parsed if parsed.problem is None else parsed._replace(action="")

    def _new_step(self, completion: Completion, text: str, parsed: Parsed) -> Step:
        """Return the step of a response, without its effect on the environment."""
        steps = self.path
        return Step(
            observation=self._message,
            response=text,
            thought=parsed.thought,
            action=parsed.action,
            valid_action=False,
            reward=0.0,
            malformed=parsed.problem is not None,
            admissible_actions=tuple(self._info["admissible_actions"]),
            prompt_token_ids=completion.prompt_token_ids,
            response_token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            entropies=completion.entropies,
            token_texts=completion.token_texts,
            entropy=_mean(completion.entropies),
            entropy_is_bound=completion.entropy_is_bound,
            row=steps[-1].row + int(completion.new_row) if steps else 0,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            policy_version=completion.policy_version,
            state_key=self._state_key,
        )

    def _listed(self, info: dict[str, Any]) -> list[str]:
        return list(info["admissible_actions"]) if self.show_admissible else []


def conversation(
    steps: Sequence[Step], message: str, *, dialogue: Dialogue, system_prompt: str, history: int | None, instruction: str
) -> list[dict[str, str]]:
    """Return the chat messages that the next response answers.

    Args:
        steps: all earlier steps of the episode.
        message: the last message of the environment.
        dialogue: the text format.
        system_prompt: the first message; "" leaves it out.
        history: number of earlier steps to show; None shows all.
        instruction: of the task, repeated where steps are left out.
    """
    shown = steps if history is None else steps[max(0, len(steps) - history) :]
    left_out = len(steps) - len(shown)
    messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for step in shown:
        messages.append({"role": "user", "content": step.observation})
        messages.append({"role": "assistant", "content": step.response})
    messages.append({"role": "user", "content": message})
    if left_out:
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = dialogue.resumed(instruction, left_out, first["content"])
    return messages


def _arguments(given: object) -> dict[str, Any] | None:
    """Return the arguments of a tool call, a mapping or its JSON text; None for anything else."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return None
    return dict(given) if isinstance(given, Mapping) else None


def _mean(entropies: np.ndarray[Any, np.dtype[np.float32]] | None) -> float | None:
    return None if entropies is None or len(entropies) == 0 else float(np.add.reduce(entropies, dtype=np.float64) / len(entropies))


def _plain(value: object) -> bool:
    """Return whether the value survives a round trip through JSON."""
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)
