"""Environments of a user's own: a small subclass of `TextEnv`, and any Gymnasium environment with texts."""

from __future__ import annotations

import pickle

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from empg_gym import LLMAgentEnv, Outcome, TextEnv
from empg_gym.agents import make_agent
from empg_gym.errors import ConfigError, TaskError
from empg_gym.evaluation import evaluate
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import make


class Countdown(TextEnv):
    """Say the numbers down to zero: everything that has a sensible default is left to the base class."""

    num_tasks = 5

    def _start(self, task: str) -> str:
        self.left, self.said = int(task.partition("-")[2]) + 2, set()
        return f"Count down from {self.left}."

    def _apply(self, action: str) -> Outcome:
        right = action == str(self.left)
        self.left -= right
        self.said.add(action)
        return Outcome("Right." if right else "No.", float(self.success), self.success, right)

    @property
    def success(self) -> bool:
        return self.left == 0


class Guess(gym.Env):
    """A Gymnasium environment that knows nothing of this package."""

    observation_space = gym.spaces.Text(200)
    action_space = gym.spaces.Text(20)

    def __init__(self, size: int = 10):
        self.size = size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(self.size))
        return f"Guess a number below {self.size}.", {"admissible_actions": [str(number) for number in range(self.size)]}

    def step(self, action):
        right = action == str(self.number)
        hint = "right" if right else "higher" if action.isdigit() and int(action) < self.number else "lower"
        return hint, float(right), right, False, {"valid_action": action.isdigit()}


class Pixels(Guess):
    observation_space = gym.spaces.Box(0, 1)


gym.register("Own/Countdown-v0", Countdown)
gym.register("Own/Guess-v3", Guess, max_episode_steps=7)
gym.register("Own/Pixels-v0", Pixels)
gym.register(
    "Own/Made-v0", lambda split="train": TextEnv.from_gymnasium(Guess(4), rules="Guess.", split=split, expert=lambda env: str(env.number))
)


def test_a_subclass_needs_four_members():
    env = gym.make("Own/Countdown-v0").unwrapped
    check_env(env, skip_render_check=False)
    first, info = env.reset(options={"task": 1})
    assert (first, info["task"], info["instruction"], env.benchmark, env.rules) == (
        "Count down from 3.", "train-1", "Count down from 3.", "Countdown", ""
    )  # fmt: skip
    assert [env.step(action)[2:4] for action in "321"] == [(False, False)] * 2 + [(True, False)]
    assert env.score == 1.0 and env.expert() is None and info["admissible_actions"] == []
    with pytest.raises(TaskError, match="Countdown"):
        env.reset(options={"task": "train-5"})
    assert Countdown(split="test").reset(options={"task": 0})[1]["task"] == "test-0"


@given(st.lists(st.sampled_from(["4", "3", "2", "1", "x"]), max_size=8), st.integers(0, 8))
def test_default_snapshots_and_keys(actions, cut):
    env, other = Countdown(), Countdown()
    env.reset(options={"task": 2})
    for action in actions[:cut]:
        env.step(action)
    state, key = pickle.loads(pickle.dumps(env.snapshot())), env.state_key()
    expected = [env.step(action) for action in actions[cut:]]
    end = env.state_key()
    other.reset(seed=0)
    for target in (other, env):
        target.restore(state)
        assert target.state_key() == key
        assert [target.step(action) for action in actions[cut:]] == expected and target.state_key() == end


def test_a_state_without_a_canonical_form_is_named():
    env = Countdown()
    env.reset(seed=0)
    env.thing = object()
    with pytest.raises(TaskError, match="the attribute 'thing' holds a object"):
        env.state_key()


@pytest.mark.parametrize("values", [([1, 2], (1, 2)), ({1, 2}, [1, 2]), ({"a": 1}, [("a", 1)]), ("1", 1), (None, "None")])
def test_different_kinds_have_different_keys(values):
    keys = set()
    for value in values:
        env = Countdown()
        env.reset(options={"task": 0})
        env.thing = value
        keys.add(env.state_key())
    assert len(keys) == 2


def test_a_gymnasium_environment_is_adapted():
    env = make("Own/Guess-v3", split="valid", size=3)
    assert (env.benchmark, env.max_steps, env.num_tasks, env.splits) == ("Own/Guess-v3", 7, 10_000, ("train", "valid", "test"))
    check_env(env, skip_render_check=True)
    first, info = env.reset(options={"task": 5})
    assert (first, info["instruction"]) == ("Guess a number below 3.",) * 2 and info["admissible_actions"] == ["0", "1", "2"]
    inner = env.env.unwrapped
    wrong = str((inner.number + 1) % 3)
    state = env.snapshot()
    assert env.step("")[0] == first and not env.step("a text of more than twenty characters")[4]["valid_action"]
    assert env.step(wrong)[1:3] == (0.0, False)
    observation, reward, terminated, truncated, info = env.step(str(inner.number))
    assert (observation, reward, terminated, truncated, info["success"], info["score"]) == ("right", 1.0, True, False, True, 1.0)
    assert env.step("0")[:3] == ("right", 0.0, True), "after the end nothing changes"
    env.restore(pickle.loads(pickle.dumps(state)))
    assert env.step(wrong)[2] is False and env.step(str(inner.number))[2] is True


def test_splits_of_an_adapted_environment_are_disjoint_and_tasks_repeat():
    seeds = {}
    for split in ("train", "valid", "test"):
        env = make("Own/Guess-v3", split=split, size=10**6)
        numbers = []
        for task in (0, 1, 2, 0):
            env.reset(options={"task": task})
            numbers.append(env.env.unwrapped.number)
        assert numbers[0] == numbers[3]
        seeds[split] = set(numbers)
    assert len(set().union(*seeds.values())) == 9


def test_a_step_limit_of_gymnasium_truncates():
    env = TextEnv.from_gymnasium(gym.make("Own/Guess-v3"), max_steps=50)
    env.reset(seed=0)
    wrong = str((env.env.unwrapped.number + 1) % 10)
    assert [env.step(wrong)[3] for _ in range(8)] == [False] * 6 + [True] * 2


def test_own_scores_rules_and_states():
    env = TextEnv.from_gymnasium(
        Guess(3),
        rules="Guess.",
        success=lambda info, total: total >= 1,
        score=lambda info, total: 5.0,
        state=lambda inner: inner.number,
    )
    env.reset(options={"task": 0})
    key = env.state_key()
    env.step(str((env.env.number + 1) % 3))
    assert (env.rules, env.success, env.score) == ("Guess.", False, 1.0) and env.state_key() == key


def test_without_texts_the_spaces_are_named():
    for made in (lambda: make("Own/Pixels-v0"), lambda: LLMAgentEnv(Pixels())):
        with pytest.raises(ConfigError, match=r"has Box observations; expected texts \(gymnasium.spaces.Text\)"):
            made()
    with pytest.raises(ConfigError, match="did you mean 'size'"):
        make("Own/Guess-v3", sise=3)


def test_an_action_that_is_not_a_text_is_refused():
    env = Countdown()
    env.reset(seed=0)
    with pytest.raises(TaskError, match=r"expects an action as text, a str, not NoneType"):
        env.step(None)


def test_the_wrapper_and_the_evaluator_accept_both(tmp_path):
    agent_env = LLMAgentEnv(gym.make("Own/Guess-v3"), dialogue="plain")
    agent_env.reset(seed=0)
    agent_env.step(str(agent_env.unwrapped.env.unwrapped.number))
    assert agent_env.trajectory.success and agent_env.trajectory.env_id == "Own/Guess-v3"
    for name, agent, success in (
        ("Own/Guess-v3", "random", None),
        ("Own/Countdown-v0", "python:tests.core.test_own_environment:count", 1.0),
    ):
        summary = evaluate(name, make_agent(agent), episodes=4, dialogue="plain", out=tmp_path / agent.partition(":")[0])
        entry = summary.results[name]
        assert (entry["episodes"], entry["errors"]) == (4, 0) and success in (None, entry["success_rate"])
    summary = evaluate("Own/Made-v0", make_agent("expert"), episodes=4, dialogue="plain", out=tmp_path / "made")
    assert summary.results["Own/Made-v0"]["success_rate"] == 1.0


def count(messages):
    """Agent: count down from the number in the first message."""
    first = next(message["content"] for message in messages if message["role"] == "user")
    return str(int("".join(filter(str.isdigit, first.partition("from")[2]))) - sum(message["role"] == "assistant" for message in messages))


def test_recipes_of_both_describe_themselves():
    for name in ("Own/Guess-v3", "Own/Countdown-v0"):
        recipe = EnvRecipe(name, {"split": "test", "max_steps": 3})
        described = recipe.describe()
        assert (described["split"], described["max_steps"]) == ("test", 3) and described["data_fingerprint"]
