"""Recorded episodes as demonstrations for the warm start: evaluations of a stronger model, earlier runs, exported files.

Rules:
    - The texts are what counts: each conversation is encoded again with the run's tokenizer and chat template, its system prompt and its
      number of earlier steps. Recorded token ids are of another model and are not used.
    - Steps with an invalid action, a malformed or a cut response are read, but not learned.
    - Left out, and counted: episodes of other environments, branched and failed ones, unsolved ones (`warmstart.only_solved`), and those
      that are longer than the run's limits.
    - Refused: another dialogue, another listing of admissible actions, another prompt of a native protocol, and a split that the run
      evaluates: its results would be of tasks that it has seen.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empg_gym.agent_env import LLMAgentEnv, conversation
from empg_gym.errors import ConfigError, DataError
from empg_gym.export.parquet import FILE as PARQUET
from empg_gym.export.parquet import read_parquet
from empg_gym.rollout.panels import find_panel
from empg_gym.runs.folder import TRAJECTORIES
from empg_gym.trainers.collect.demonstrations import DETOUR
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trajectory import Step, StopReason, Trajectory, read_trajectories

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Recordings:
    """Episodes of the run's environment, as recorded."""

    episodes: list[Trajectory]
    left_out: Counter[str]
    """Number of episodes by the reason."""

    @property
    def summary(self) -> str:
        """One sentence with the numbers."""
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(self.left_out.items()))
        return f"{len(self.episodes)} recorded episodes" + (f"; left out: {reasons}" if reasons else "")


def read_recordings(config: TrainConfig, env: LLMAgentEnv) -> Recordings:
    """Return the episodes of `warmstart.trajectories` that the run can learn from.

    Args:
        config: the whole configuration.
        env: an environment of the run.

    Raises:
        DataError: a file is missing or damaged, or no episode is left.
        ConfigError: the episodes were recorded with another dialogue or protocol, or are of a split that the run evaluates.
    """
    wanted = config.warmstart
    episodes: list[Trajectory] = []
    left_out: Counter[str] = Counter()
    evaluated = {*config.eval.splits, *(find_panel(name).split for name in config.eval.panel)}
    for path in map(Path, wanted.trajectories):
        for trajectory in _read(path, env):
            reason = _reason(trajectory, env, only_solved=wanted.only_solved)
            if reason is not None:
                left_out[reason] += 1
                continue
            _require_same_form(trajectory, env, path)
            if trajectory.split in evaluated:
                raise ConfigError(
                    f"the episodes in {path} are of the split {trajectory.split!r}, which this run evaluates: record others "
                    f"(empg-gym eval … --split {config.env.split}), or leave the split out of the evaluation (eval.splits)"
                )
            if len(episodes) < wanted.episodes:
                episodes.append(trajectory)
    found = Recordings(episodes, left_out)
    if not episodes:
        raise DataError(f"{', '.join(wanted.trajectories)}: no episode to learn from ({found.summary})")
    return found


def encoded(recordings: Recordings, env: LLMAgentEnv, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> Recordings:
    """Return the episodes with token ids, without those longer than the run's limits.

    Raises:
        DataError: no episode is left.
    """
    codec, limits = ChatCodec(tokenizer), config.rollout
    kept: list[Trajectory] = []
    left_out = Counter(recordings.left_out)
    for trajectory in recordings.episodes:
        steps, longest_row = _encoded_steps(trajectory, env, codec)
        longest_response = max(len(step.response_token_ids) for step in steps if step.response_token_ids is not None)
        if longest_row > limits.max_row_tokens or longest_response > limits.max_response_tokens:
            left_out["longer than rollout.max_row_tokens or rollout.max_response_tokens"] += 1
        else:
            kept.append(dataclasses.replace(trajectory, steps=steps))
    found = Recordings(kept, left_out)
    if not kept:
        raise DataError(f"{', '.join(config.warmstart.trajectories)}: no episode to learn from ({found.summary})")
    return found


def recorded_texts(recordings: Recordings, env: LLMAgentEnv) -> Iterator[str]:
    """Yield the texts of recorded episodes, to train a tokenizer on: prompts, observations, responses and admissible actions."""
    yield env.system_prompt
    for trajectory in recordings.episodes:
        yield trajectory.final_observation
        for step in trajectory.steps:
            yield step.observation
            yield step.response
            yield from step.admissible_actions


def _encoded_steps(trajectory: Trajectory, env: LLMAgentEnv, codec: ChatCodec) -> tuple[list[Step], int]:
    """Return the steps with token ids, and the tokens of the longest row."""
    row, rows, longest = ChatRow(codec), -1, 0
    steps: list[Step] = []
    for index, step in enumerate(trajectory.steps):
        messages = conversation(
            trajectory.steps[:index],
            step.observation,
            dialogue=env.dialogue,
            system_prompt=env.system_prompt,
            history=env.history,
            instruction=trajectory.instruction,
        )
        prompt, new_row = row.prompt(messages)
        response = codec.encode_response(step.response)
        row.respond(response)
        rows, longest = rows + new_row, max(longest, len(row.ids))
        learned = step.valid_action and not step.malformed and step.finish_reason == "stop"
        steps.append(
            dataclasses.replace(
                step,
                prompt_token_ids=np.array(prompt, np.int32),
                response_token_ids=np.array(response, np.int32),
                row=rows,
                diagnostics={} if learned else {DETOUR: 1.0},
            )
        )
    return steps, longest


def _reason(trajectory: Trajectory, env: LLMAgentEnv, *, only_solved: bool) -> str | None:
    """Return why an episode is left out."""
    if trajectory.env_id not in ("", _id_of(env)):
        return f"of {trajectory.env_id}"
    if trajectory.parent is not None:
        return "branched"
    if trajectory.stop_reason == StopReason.ERROR or not trajectory.steps:
        return "failed"
    return "not solved" if only_solved and not trajectory.success else None


def _require_same_form(trajectory: Trajectory, env: LLMAgentEnv, path: Path) -> None:
    dialogue, prompt = env.dialogue, env.system_prompt
    if trajectory.dialogue not in ("", dialogue.name):
        raise ConfigError(
            f"the episodes in {path} were recorded with the dialogue {trajectory.dialogue!r}, this run uses {dialogue.name!r}: set "
            f"env.dialogue={trajectory.dialogue}, or record them with empg-gym eval … --dialogue {dialogue.name}"
        )
    if env.text_env.native_protocol and trajectory.system_prompt and prompt and trajectory.system_prompt != prompt:
        raise ConfigError(
            f"the episodes in {path} were recorded with another system prompt, and {_id_of(env)} explains its protocol there: use the "
            "same env.options.protocol and env.system_prompt"
        )
    listed = [step for step in trajectory.steps if step.admissible_actions and not step.malformed]
    shown = {step.observation.endswith(dialogue.observation("", step.admissible_actions)) for step in listed}
    if shown - {env.show_admissible}:
        raise ConfigError(
            f"the prompts in {path} {'list' if True in shown else 'do not list'} the admissible actions, unlike those of this run: set "
            f"env.show_admissible={str(True in shown).lower()}"
        )


def _id_of(env: LLMAgentEnv) -> str:
    return env.spec.id if env.spec is not None else type(env.text_env).__name__


def _read(path: Path, env: LLMAgentEnv) -> Iterator[Trajectory]:
    """Yield the episodes of a run folder, a file of trajectories, or a file that `empg-gym export` wrote.

    Raises:
        DataError: the file does not exist or is damaged.
    """
    file = next((path / name for name in (TRAJECTORIES, PARQUET) if (path / name).is_file()), path) if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"no episodes at {path} (warmstart.trajectories): expected the folder of an evaluation, its {TRAJECTORIES}, or a file that "
            "empg-gym export wrote"
        )
    if file.suffix == ".parquet":
        yield from read_parquet(file)
    elif _holds_messages(file):
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _of_messages(line, env, f"{file}, line {number}")
    else:
        yield from read_trajectories(file)


def _holds_messages(file: Path) -> bool:
    with file.open("rb") as lines:
        first = lines.readline()
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "messages" in record and "format" not in record


def _of_messages(line: str, env: LLMAgentEnv, place: str) -> Trajectory:
    """Return the episode of a line of the formats "messages" and "sft"; a conversation without an outcome counts as solved.

    Raises:
        DataError: the line is not a conversation.
    """
    try:
        record: dict[str, Any] = json.loads(line)
        messages = [(str(message["role"]), str(message["content"])) for message in record["messages"]]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise DataError(f'{place}: expected a conversation, {{"messages": [{{"role": …, "content": …}}, …]}}') from None
    system = messages.pop(0)[1] if messages and messages[0][0] == "system" else ""
    if [role for role, _ in messages] != ["user", "assistant"] * (len(messages) // 2):
        raise DataError(f"{place}: after a system prompt, if there is one, messages of the user and of the assistant must alternate")
    texts = [text for _, text in messages]
    return Trajectory(
        env_id=str(record.get("env_id", "")),
        env_version="",
        data_fingerprint="",
        split=str(record.get("split", "")),
        task=str(record.get("task", "")),
        instruction=texts[0] if texts else "",
        system_prompt=system,
        steps=_steps(texts, env),
        success=bool(record.get("success", True)),
        stop_reason=StopReason.ERROR if record.get("error") else StopReason.TERMINATED,
    )


def _steps(texts: Sequence[str], env: LLMAgentEnv) -> list[Step]:
    steps = []
    for observation, response in zip(texts[::2], texts[1::2], strict=True):
        parsed = env.dialogue.parse(response)
        readable = parsed.problem is None
        steps.append(
            Step(
                observation=observation,
                response=response,
                thought=parsed.thought,
                action=parsed.action,
                valid_action=readable,
                reward=0.0,
                malformed=not readable,
            )
        )
    return steps
