"""The environment from the user's point of view."""

import pickle
import random

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import empg_gym
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.errors import ConfigError, TaskError

ID = "EMPG/ALFWorld-v0"
assert empg_gym


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("kwargs", [{}, {"size": "small", "wording": "old", "render_mode": "ansi"}])
def test_passes_the_checker_of_gymnasium(kwargs):
    check_env(gym.make(ID, **kwargs).unwrapped)


def test_an_episode():
    env = gym.make(ID, size="small")
    text, info = env.reset(options={"task": 1})
    assert text.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.")
    assert text.endswith(f"\n\nYour task is to: {info['instruction']}.")
    assert info["task"] == "train/small/1"
    assert info["task_type"] == "look_at_obj_in_light"
    assert info["gamefile"].startswith("train/look_at_obj_in_light-")
    assert (info["success"], info["score"], info["step"], info["valid_action"]) == (False, 0.0, 0, True)
    rewards = []
    terminated = False
    while not terminated:
        _, reward, terminated, truncated, info = env.step(env.unwrapped.expert())
        rewards.append(reward)
        assert not truncated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert (info["success"], info["score"], info["step"]) == (True, 1.0, len(rewards))
    *_, info = env.step("go to the moon")
    assert info["success"] and not info["valid_action"]


def test_the_step_limit_truncates():
    env = ALFWorldEnv(max_steps=3)
    env.reset(seed=0)
    assert [env.step("look")[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


def test_the_welcome_line_can_be_omitted():
    text, _ = ALFWorldEnv(strip_intro=True).reset(seed=0)
    assert text.startswith("You are in the middle of a room.")


def test_rules_name_the_commands_of_the_wording():
    new, old = ALFWorldEnv().rules, ALFWorldEnv(wording="old").rules
    assert "move OBJECT to RECEPTACLE" in new and "help" in new
    assert "put OBJECT in/on RECEPTACLE" in old and "help" not in old


def test_the_same_seed_gives_the_same_episode():
    first, second = ALFWorldEnv(), ALFWorldEnv()
    for seed in (0, 7):
        assert first.reset(seed=seed) == second.reset(seed=seed)
        assert first.reset() == second.reset()
    assert first.reset(seed=0)[0] != first.reset(seed=1)[0]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(mode):
    extra = {"vector_kwargs": {"shared_memory": False}} if mode == "async" else {}
    envs = gym.make_vec(ID, num_envs=2, vectorization_mode=mode, size="small", **extra)
    single = [ALFWorldEnv(size="small") for _ in range(2)]
    texts, infos = envs.reset(seed=5)
    for i, env in enumerate(single):
        text, info = env.reset(seed=5 + i)
        assert texts[i] == text
        assert list(infos["admissible_actions"][i]) == info["admissible_actions"]
    for _ in range(4):
        actions = [env.expert() or "look" for env in single]
        texts, rewards, *_ = envs.step(actions)
        for i, env in enumerate(single):
            text, reward, *_ = env.step(actions[i])
            assert (texts[i], rewards[i]) == (text, reward)
    envs.close()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 30), st.sampled_from(["full", "small"]))
def test_a_restored_state_continues_identically(seed, before, size):
    env, other = (ALFWorldEnv("valid_unseen", size=size, expert="search") for _ in range(2))
    rng = random.Random(seed)
    _, info = env.reset(seed=seed)
    for _ in range(before):
        *_, info = env.step(rng.choice([*info["admissible_actions"], "nonsense"]))
    state = pickle.loads(pickle.dumps(env.snapshot()))

    def walk(target):
        rng = random.Random(seed + 1)
        trace = [target.restore(state)]
        for _ in range(12):
            trace.append(target.step(rng.choice(trace[-1][-1]["admissible_actions"])))
            trace.append((target.expert(), trace[-1][-1]))
        return [*trace, target.reset()]

    other.reset(seed=3)
    assert walk(env) == walk(env) == walk(other)


def test_a_state_of_another_wording_or_household_is_rejected():
    env = ALFWorldEnv(size="small", wording="old")
    env.reset(seed=0)
    says = "belongs to the variant 'old wording, fast engine', this environment is 'new wording, fast engine'"
    with pytest.raises(TaskError, match=says):
        ALFWorldEnv(size="small").restore(env.snapshot())
    with pytest.raises(TaskError, match="is not in split"):
        ALFWorldEnv(wording="old").restore(env.snapshot())


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.sampled_from(["", " ", "\n", "\x00\x1b[31m", "x" * 100_000, "去 冰箱", "اذهب", "go to \ud800"]))
def test_any_text_is_accepted(text):
    env = ALFWorldEnv(size="small")
    _, before = env.reset(seed=0)
    answer, reward, terminated, truncated, info = env.step(text)
    if text.strip() in before["admissible_actions"]:
        assert info["valid_action"]
    else:
        assert (answer, reward, terminated, truncated, info["valid_action"]) == ("Nothing happens.", 0.0, False, False, False)
        assert info["admissible_actions"] == before["admissible_actions"]


def test_the_caller_may_change_the_list_of_admissible_actions():
    env = ALFWorldEnv()
    _, info = env.reset(seed=0)
    info["admissible_actions"].clear()
    assert env.step("look")[-1]["admissible_actions"]


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"split": "tain"}, "did you mean 'train'"),
        ({"split": "valid_train"}, "no split 'valid_train'"),
        ({"wording": "newer"}, "did you mean 'new'"),
        ({"engine": "slow"}, "fast, textworld"),
        ({"goals": "human"}, "no human goals"),
        ({"goals": "humans"}, "did you mean 'human'"),
        ({"expert": "planner"}, "direct, search"),
        ({"size": "medium"}, "full, small"),
        ({"size": "small", "data": "somewhere"}, "embedded ALFWorld only"),
        ({"rooms": "variable"}, "did you mean 'varied'"),
        ({"rooms": "varied", "data": "somewhere"}, "embedded ALFWorld only"),
        ({"task_types": ["pick_two"]}, "pick_two"),
        ({"task_types": 9}, "task type 9"),
        ({"task_types": 3.5}, "task type 3.5"),
        ({"data": 3}, "data=3"),
        ({"max_steps": 0}, "max_steps"),
        ({"data": "official"}, "data get alfworld-2.1.3`, set ALFWORLD_DATA"),
        ({"data": "official", "goals": "human"}, "data get alfworld-2.1.1`, set ALFWORLD_DATA"),
    ],
)
def test_bad_arguments_are_explained(kwargs, says, monkeypatch, tmp_path):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(ConfigError, match=says):
        ALFWorldEnv(**kwargs)


@pytest.mark.parametrize("task", ["train/full/120000", "train/small/0", "../x", 120_000, -1, 1.5e9, None, [1]])
def test_unknown_tasks_are_explained(task):
    env = ALFWorldEnv()
    if task is None:
        env.reset(options={"task": None})
        return
    with pytest.raises(TaskError, match="task"):
        env.reset(options={"task": task})


def test_a_filter_keeps_only_its_types():
    env = ALFWorldEnv(task_types=[2, "pick_cool_then_place_in_recep"])
    assert env.num_tasks == 40_000
    assert {env.reset(seed=seed)[1]["task_type"] for seed in range(20)} == {"look_at_obj_in_light", "pick_cool_then_place_in_recep"}
