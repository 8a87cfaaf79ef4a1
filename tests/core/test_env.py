"""The contract of the base class, on a small environment."""

from __future__ import annotations

import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TaskError
from empg_gym.spaces import UnicodeText
from tests.toy import TOY_ID, DoorsEnv


def test_passes_gymnasiums_checker():
    check_env(gym.make(TOY_ID).unwrapped, skip_render_check=False)


def test_same_seed_same_task_and_different_seeds_differ():
    first, second = DoorsEnv(), DoorsEnv()
    tasks = [first.reset(seed=seed)[1]["task"] for seed in range(20)]
    assert tasks == [second.reset(seed=seed)[1]["task"] for seed in range(20)]
    assert len(set(tasks)) > 5


def test_without_a_seed_the_generator_continues():
    first, second = DoorsEnv(), DoorsEnv()
    first.reset(seed=3)
    second.reset(seed=3)
    assert [first.reset()[1]["task"] for _ in range(10)] == [second.reset()[1]["task"] for _ in range(10)]


@pytest.mark.parametrize("task", [4, np.int64(4), "train-4", "4", "04"])
def test_a_task_is_chosen_by_index_or_id(task):
    assert DoorsEnv().reset(options={"task": task})[1]["task"] == "train-4"


class NumberedDoorsEnv(DoorsEnv):
    """The ids are numbers, as those of HotpotQA may be: task 0 is "100", task 1 is "101", and so on; task 49 is "7"."""

    def task_id(self, index: int) -> str:
        return "7" if index == 49 else str(100 + index)

    def _has_task(self, task: str) -> bool:
        return task in {self.task_id(index) for index in range(self.num_tasks)}


@pytest.mark.parametrize(("wanted", "found"), [("101", "101"), ("1", "101"), (1, "101"), ("7", "7"), (7, "107"), ("8", "108")])
def test_an_id_of_digits_takes_precedence_over_an_index(wanted, found):
    assert NumberedDoorsEnv().find_task(wanted) == found


@pytest.mark.parametrize(
    "task",
    [
        50,
        "50",
        "-1",
        "²",
        "9" * 5000,
        -1,
        "test-4",
        "nonsense",
        1.5j,
        None.__class__,
        2.9,
        2.0,
        float("inf"),
        float("nan"),
        True,
        False,
        [1],
    ],
)
def test_an_unknown_task_is_named(task):
    with pytest.raises(TaskError):
        DoorsEnv().reset(options={"task": task})


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'task'"):
        DoorsEnv().reset(options={"tsak": 1})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"split": "tain"}, "'train'"),
        ({"split": 5}, "split must be the name of a split, a string such as 'train', not 5"),
        ({"split": None}, "not None"),
        ({"split": ["train"]}, "split must be"),
        ({"max_steps": 0}, "at least 1"),
        ({"max_steps": True}, "not True"),
        ({"render_mode": "human"}, "ansi"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(ConfigError, match=text):
        DoorsEnv(**arguments)


def test_step_limit_truncates_and_the_end_terminates():
    env = DoorsEnv(max_steps=3)
    env.reset(options={"task": 0})
    for _ in range(2):
        assert env.step(env.expert())[2:4] == (False, False)
    assert env.step(env.expert())[2:4] == (True, True)
    assert env.step("anything")[2:4] == (True, True)


def test_step_before_reset_says_so():
    with pytest.raises(TaskError, match="reset"):
        DoorsEnv().step("open door 1")


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("EMPG/ALFWorld-v0", {"size": "small"}),
        ("EMPG/WebShop-v0", {"num_products": 100, "split": "all"}),
        ("EMPG/DeepSearch-v0", {"world_size": 240}),
    ],
)
def test_the_expert_before_reset_says_so(name, small, tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    with pytest.raises(TaskError, match=r"no task yet: call reset\(\) first"):
        gym.make(name, **small).unwrapped.expert()


@given(st.lists(st.sampled_from(["open door 1", "open door 2", "open door 3", "open door 4", "?"]), max_size=8), st.integers(0, 8))
def test_a_restored_snapshot_continues_as_the_original(actions, cut):
    env, other = DoorsEnv(), DoorsEnv()
    env.reset(seed=1)
    for action in actions[:cut]:
        env.step(action)
    state = pickle.loads(pickle.dumps(env.snapshot()))
    expected = [env.step(action) for action in actions[cut:]] + [env.reset()]
    for target in (env, other):
        target.restore(state)
        assert [target.step(action) for action in actions[cut:]] + [target.reset()] == expected


@given(st.lists(st.sampled_from(["open door 1", "open door 2", "open door 3", "open door 4", "?"]), max_size=8))
def test_a_state_key_does_not_depend_on_the_path(actions):
    env, other = DoorsEnv(max_steps=4), DoorsEnv(max_steps=50)
    env.reset(seed=1)
    for action in actions:
        env.step(action)
    other.reset(seed=2, options={"task": env.task})
    for _ in range(env._room):
        other.step(other.expert())
    assert env.state_key() == other.state_key()
    other.restore(env.snapshot())
    assert env.state_key() == other.state_key()
    assert re.fullmatch("[0-9a-f]{32}", env.state_key())


def test_state_keys_differ_between_states_tasks_and_data():
    keys = set()
    for env, task in ((DoorsEnv(), 0), (DoorsEnv(), 1), (DoorsEnv(length=5), 0), (DoorsEnv(split="test"), 0)):
        env.reset(options={"task": task})
        keys.add(env.state_key())
        while (action := env.expert()) is not None:
            env.step(action)
            keys.add(env.state_key())
    assert len(keys) == 4 + 4 + 6 + 4


def test_the_state_key_before_reset_says_so():
    with pytest.raises(TaskError, match=r"no task yet: call reset\(\) first"):
        DoorsEnv().state_key()


def test_a_foreign_snapshot_is_refused():
    env = DoorsEnv()
    env.reset(seed=1)
    with pytest.raises(TaskError, match="split"):
        DoorsEnv(split="test").restore(env.snapshot())
    with pytest.raises(TaskError, match=r"belongs to other data \(doors-3-4\) than this environment's \(doors-5-4\)"):
        DoorsEnv(length=5).restore(env.snapshot())
    with pytest.raises(TaskError, match="restore expects a State as returned by snapshot\\(\\), not dict"):
        env.restore({})


@given(st.text())
def test_the_text_space_holds_any_text(text):
    assert UnicodeText().contains(text)
    assert not UnicodeText(3).contains("abcd")
    assert not UnicodeText().contains(3)


def test_vector_environments():
    envs = gym.make_vec(TOY_ID, num_envs=2, vectorization_mode="sync")
    observations, infos = envs.reset(seed=[1, 2])
    assert len(observations) == 2
    assert len(infos["task"]) == 2
    envs.step(["open door 1", "open door 2"])
    envs.close()


def _async_of_make_vec(**options):
    return gym.make_vec(TOY_ID, num_envs=2, vectorization_mode="async", vector_kwargs=options)


def _async_of_gymnasium(**options):
    return gym.vector.AsyncVectorEnv([lambda: gym.make(TOY_ID)] * 2, **options)


@pytest.mark.parametrize("vector", [_async_of_make_vec, _async_of_gymnasium])
def test_vectors_in_processes_hold_texts_only_without_shared_memory(vector):
    with pytest.raises(ValueError, match="shared_memory=False"):
        vector()
    envs = vector(shared_memory=False)
    try:
        observations, infos = envs.reset(seed=[1, 2])
        assert all(text.startswith("Room 1. The note says") for text in observations) and len(set(infos["task"])) == 2
        assert all(envs.step(("open door 1", "nonsense"))[-1]["step"] == 1)
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", ["EMPG/ALFWorld-v0", "EMPG/WebShop-v0", "EMPG/DeepSearch-v0", TOY_ID])
def test_an_unknown_argument_of_gym_make_names_the_nearest(env_id):
    with pytest.raises(ConfigError, match=r"takes no argument 'splt'; did you mean 'split'\?"):
        gym.make(env_id, splt="train")


def test_gym_make_names_the_size_of_a_world():
    with pytest.raises(ConfigError, match=r"ALFWorld takes no argument 'sise'; did you mean 'size'\?"):
        gym.make("EMPG/ALFWorld-v0", sise="small")
