"""The agent wrapper: what a model sees, and what is recorded."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import ConfigError
from empg_gym.trajectory import Completion, StopReason
from tests.toy import TOY_ID


def make(**arguments) -> LLMAgentEnv:
    env_arguments = arguments.pop("env", {})
    return LLMAgentEnv(gym.make(TOY_ID, **env_arguments), **arguments)


def answer(env: LLMAgentEnv, thought: str = "so") -> str:
    return env.dialogue.render(thought, env.text_env.expert() or "")


def test_it_is_a_gymnasium_environment():
    check_env(make(), skip_render_check=True)


def test_an_episode_is_recorded_completely():
    env = make()
    env.reset(seed=0, options={"task": 4})
    while env.trajectory.stop_reason is None:
        env.step(answer(env))
    record = env.trajectory
    assert record.success
    assert record.stop_reason is StopReason.TERMINATED
    assert (record.env_id, record.task, record.task_type, record.seed) == (TOY_ID, "train-4", "even", 0)
    assert (record.total_reward, record.score, len(record.steps)) == (1.0, 1.0, 3)
    assert all(step.thought == "so" and step.valid_action and not step.malformed for step in record.steps)
    assert record.steps[0].admissible_actions == tuple(f"open door {number}" for number in range(1, 5))
    assert record.final_observation == "You are out."


def test_messages_alternate_and_end_with_the_user():
    env = make()
    env.reset(seed=0)
    env.step(answer(env))
    env.step(answer(env))
    roles = [message["role"] for message in env.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "Open doors with" in env.messages[0]["content"]


@pytest.mark.parametrize("history", [0, 1, 2])
def test_a_window_shows_the_last_steps_and_the_instruction(history):
    env = make(history=history, env={"length": 6})
    env.reset(seed=0)
    for _ in range(4):
        env.step(answer(env))
    messages = env.messages
    assert len(messages) == 2 + 2 * history
    assert "leave the house" in messages[1]["content"]
    assert f"{4 - history} earlier turn" in messages[1]["content"]
    assert messages[-1]["content"].endswith(env.trajectory.final_observation)


def test_a_malformed_reply_is_corrected_and_changes_nothing():
    env = make()
    env.reset(seed=0)
    before = env.text_env.snapshot()
    message, reward, terminated, truncated, info = env.step("no tags at all")
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert "could not be read" in message
    assert info["malformed"]
    assert not info["valid_action"]
    assert info["step"] == 1
    assert env.text_env.snapshot().payload[1] == before.payload[1]
    assert env.trajectory.steps[0].malformed
    assert env.trajectory.steps[0].action == ""


@pytest.mark.parametrize(
    ("env_id", "options"),
    [("EMPG/ALFWorld-v0", {}), ("EMPG/WebShop-v0", {}), ("EMPG/DeepSearch-v0", {"protocol": "plain", "world_size": 200})],
)
def test_a_malformed_reply_leaves_every_benchmark_as_it_is(env_id, options):
    env = LLMAgentEnv(gym.make(env_id, **options), dialogue="think-action")
    env.reset(seed=0)
    env.step(f"<think>so</think><action>{env.text_env.expert()}</action>")
    inner = env.text_env
    before = (inner.expert(), env.admissible_actions, inner.score, inner.success)
    _, reward, terminated, truncated, info = env.step("no tags at all")
    assert (reward, terminated, truncated, info["valid_action"]) == (0.0, False, False, False)
    assert (inner.expert(), env.admissible_actions, inner.score, inner.success) == before


def test_malformed_replies_count_as_steps():
    env = make(env={"max_steps": 2})
    env.reset(seed=0)
    env.step("?")
    assert env.step("?")[3]
    assert env.trajectory.stop_reason is StopReason.STEP_LIMIT


@given(st.text())
def test_replies_never_raise(reply):
    env = make(env={"max_steps": 3})
    env.reset(seed=0)
    env.step(reply)
    assert env.trajectory.steps[0].response == reply


def test_tokens_and_entropies_are_kept():
    env = make(dialogue="plain")
    env.reset(seed=0)
    ids = np.array([3, 4, 2], dtype=np.int32)
    entropies = np.array([0.5, 1.0, 0.0], dtype=np.float32)
    env.step(Completion(text="open door 1", prompt_token_ids=ids[:2], token_ids=ids, entropies=entropies, policy_version=7))
    step = env.trajectory.steps[0]
    assert step.entropy == pytest.approx(0.5)
    np.testing.assert_array_equal(step.response_token_ids, ids)
    assert env.trajectory.policy_version == 7


def test_every_step_has_its_policy_version_and_the_key_of_the_state_before_it():
    env = make()
    env.reset(seed=0, options={"task": 4})
    keys = [env.text_env.state_key()]
    for version, text in ((7, None), (8, "nonsense"), (None, None)):
        env.step(Completion(text=text or answer(env), policy_version=version))
        keys.append(env.text_env.state_key())
    record = env.trajectory
    assert [step.policy_version for step in record.steps] == [7, 8, None] and record.policy_version == 7
    assert [step.state_key for step in record.steps] + [record.final_state_key] == keys
    assert keys[1] == keys[2] and len(set(keys)) == 3, "a malformed response leaves the state as it is"


def test_rows_are_counted():
    env = make(dialogue="plain")
    env.reset(seed=0)
    for new_row in (True, False, True):
        env.step(Completion(text="open door 1", new_row=new_row))
    assert [step.row for step in env.trajectory.steps] == [0, 0, 1]


def test_a_tool_call_replaces_an_action():
    env = make()
    env.reset(seed=0)
    action = env.text_env.expert()
    env.step(Completion(text="thinking", tool_calls=({"name": "act", "arguments": {"action": action}},)))
    step = env.trajectory.steps[0]
    assert (step.action, step.thought, step.valid_action) == (action, "thinking", True)


@pytest.mark.parametrize("arguments", [[1], "go", "[1]", '"x"', "[" * 100_000, 3, [["a", "b"]]])
def test_a_tool_call_with_unreadable_arguments_keeps_them_and_is_corrected(arguments):
    env = make()
    env.reset(seed=0)
    message, _, _, _, info = env.step(Completion(text="I go.", tool_calls=({"name": "act", "arguments": arguments},)))
    step = env.trajectory.steps[0]
    assert (step.action, info["valid_action"], info["malformed"]) == ("", False, True)
    assert (step.response, step.thought) == (f"I go.\nact({arguments})", "I go.")
    assert message.startswith("Your reply could not be read: the arguments of its tool call are not a JSON object: act(")
    assert len(message) < 1_000


@pytest.mark.parametrize("arguments", [None, {}, "", ...])
def test_a_tool_call_without_arguments_is_an_invalid_action(arguments):
    env = make()
    env.reset(seed=0)
    call = {"name": "act"} if arguments is ... else {"name": "act", "arguments": arguments}
    info = env.step(Completion(text="", tool_calls=(call,)))[4]
    assert (env.trajectory.steps[0].action, info["valid_action"], info["malformed"]) == ("", False, False)


def test_the_arguments_of_a_tool_call_may_be_json():
    env = make()
    env.reset(seed=0)
    action = env.text_env.expert()
    env.step(Completion(text="", tool_calls=({"name": "act", "arguments": json.dumps({"action": action})},)))
    assert env.trajectory.steps[0].action == action


def test_admissible_actions_can_be_shown():
    env = make(show_admissible=True)
    message, _ = env.reset(seed=0)
    assert "- open door 4" in message


def test_wrong_use_is_explained():
    with pytest.raises(ConfigError, match=r"expected texts \(gymnasium.spaces.Text\)"):
        LLMAgentEnv(gym.make("CartPole-v1"))
    with pytest.raises(ConfigError, match="reset"):
        _ = make().trajectory
    with pytest.raises(ConfigError, match="history"):
        make(history=-1)
