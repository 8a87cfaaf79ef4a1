"""The Gymnasium contract, the arguments, branching and the expert."""

import pickle
import random
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import empg_gym  # noqa: F401
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.errors import ConfigError, DataError, TaskError

MODES = ("text", "text_rich", "html", "url")
COMPAT = ("default", "upstream")


def solve(env):
    """Run the expert from the current state and return the last step."""
    while True:
        action = env.expert()
        assert action is not None
        assert action.startswith("search[") or action in env.unwrapped._admissible()
        step = env.step(action)
        if step[2] or step[3]:
            return step


@pytest.mark.parametrize("compat", COMPAT)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("error")
def test_gymnasium_checker(mode, compat):
    check_env(gym.make("EMPG/WebShop-v0", num_products=200, observation=mode, compat=compat).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("goals", ["synthetic", "human"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_expert_reaches_reward_one(make, split, goals):
    env = make(split, goals=goals)
    for seed in range(15):
        env.reset(seed=seed)
        assert env.score == 0.0
        _, reward, terminated, truncated, info = solve(env)
        assert (reward, terminated, truncated) == (1.0, True, False)
        assert info["success"]
        assert info["score"] == 1.0


@pytest.mark.parametrize("compat", COMPAT)
def test_the_expert_succeeds_from_any_state(make, compat):
    env = make(max_steps=500, compat=compat)
    rng = np.random.default_rng(0)
    for seed in range(10):
        _, info = env.reset(seed=seed)
        for _ in range(int(rng.integers(0, 12))):
            actions = [action for action in info["admissible_actions"] if action != "click[buy now]"]
            action = str(rng.choice(actions)).replace("<query>", env.shop.goals.product(seed).title)
            info = env.step(action)[4]
        assert solve(env)[1] == 1.0


@pytest.mark.parametrize("compat", COMPAT)
def test_same_seed_same_episode_in_every_process(make, compat):
    script = (
        "from empg_gym.envs.webshop.env import WebShopEnv as E\n"
        f"env = E('all', num_products=200, compat={compat!r}); a = env.reset(seed=11)[0]; b = env.step('search[<r>]')[0]; print(a, b)"
    )
    env = make(compat=compat)
    expected = f"{env.reset(seed=11)[0]} {env.step('search[<r>]')[0]}\n"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, encoding="utf-8")
    assert found.stdout == expected


@pytest.mark.parametrize("compat", COMPAT)
def test_global_generators_are_left_alone(compat):
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    env = WebShopEnv("all", num_products=150, compat=compat, price_seed=3)
    env.reset()
    env.step("search[<r>]")
    env.step("click[next >]")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize("compat", COMPAT)
def test_branching(make, compat):
    options = {"compat": compat, "max_steps": 12, "num_prev_obs": 2, "num_prev_actions": 2}
    env, other = make(**options), make(**options)
    env.reset(seed=5)
    walk = ["search[<r>]", "click[next >]", "think[hm]", "click[back to search]", "search[shirt]", "click[next >]", "search[shoes]"]
    states, answers = [], []
    for action in walk:
        states.append(pickle.loads(pickle.dumps(env.snapshot())))
        answers.append(env.step(action))
    last = env.reset()[0]
    for number, state in enumerate(states):
        observation, info = other.restore(state)
        assert info["step"] == number
        assert number == 0 or observation == answers[number - 1][0]
        for action, answer in zip(walk[number:], answers[number:], strict=True):
            assert other.step(action) == answer
        assert other.reset()[0] == last, "the generator continues as before"
    with pytest.raises(TaskError, match="not in split"):
        make("test").restore(states[0])
    with pytest.raises(TaskError, match="belongs to other data"):
        make(**options, price_seed=1).restore(states[0])
    with pytest.raises(TaskError, match=f"belongs to the variant '{compat}, text', this environment is '{compat}, html'"):
        make(**options, observation="html").restore(states[0])


@pytest.mark.parametrize("compat", COMPAT)
def test_environments_are_picklable(make, compat):
    env = make(compat=compat)
    env.reset(seed=2)
    env.step("search[shoes]")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step("click[next >]") == env.step("click[next >]")
    assert copy.reset()[0] == env.reset()[0]


@pytest.mark.parametrize("kind", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_vector_environments(kind):
    def one():
        return gym.make("EMPG/WebShop-v0", num_products=200)

    options = {"shared_memory": False} if kind is gym.vector.AsyncVectorEnv else {}
    single, many = one(), kind([one, one], **options)
    observations, infos = many.reset(seed=[3, 4])
    assert observations[0] == single.reset(seed=3)[0]
    observations, rewards, _, _, infos = many.step(["search[shoes]", "click[nothing]"])
    assert observations[0] == single.step("search[shoes]")[0]
    assert list(infos["valid_action"]) == [True, False]
    assert rewards.tolist() == [0.0, 0.0]
    many.close()


def test_step_limit(make):
    env = make(max_steps=3)
    env.reset(seed=0)
    ends = [env.step("search[a]")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert WebShopEnv(num_products=200).max_steps == 15


def test_history(make):
    plain, env = make(), make(num_prev_obs=2, num_prev_actions=1)
    first = plain.reset(seed=1)[0]
    assert env.reset(seed=1)[0] == first
    shown = [first]
    for action in ("search[shoes]", "think[hm]", "click[next >]"):
        shown.append(plain.step(action)[0])
        observation = env.step(action)[0]
        expected = [*shown[-3:-1], action, shown[-1]]
        assert observation == " [SEP] ".join(expected)


def test_info(make):
    env = make()
    _, info = env.reset(options={"task": 7})
    assert (info["task"], info["goal_index"], info["page"], info["has_search_bar"]) == ("synthetic-7", 7, "index", True)
    assert info["admissible_actions"] == ["search[<query>]"]
    assert info["nouns"] == "rules-1"
    assert env.reset(options={"task": "synthetic-7"})[1]["instruction"] == info["instruction"]
    goal = env.shop.goals[7]
    while env.view.page.kind != "item_page":
        _, _, _, _, info = env.step(env.expert())
        assert info["reward_details"] == {}
        assert info["score"] == 0.0
    info = solve(env)[4]
    assert set(info["reward_details"]) >= {"r_type", "r_att", "w_att", "r_price", "w_price", "query_match", "category_match", "title_score"}
    assert env.task_type == goal.category


def test_tool_calls_are_actions(make):
    env = make()
    assert [tool["function"]["name"] for tool in env.tools] == ["search", "click"]
    env.reset(seed=0)
    assert env.step(env.tool_action("search", {"words": "red shoes"}))[4]["page"] == "search_results"
    assert env.step(env.tool_action("click", {"thing": "Next >"}))[4]["valid_action"]
    for name, arguments in (("click", {}), ("buy", {"thing": "now"}), ("search", {"words": None})):
        assert env.step(env.tool_action(name, arguments))[4]["page"] == "search_results"


def test_fingerprints_name_data_prices_and_nouns(make):
    prints = {make().fingerprint, make(price_seed=1).fingerprint, make(goals="human").fingerprint, make(num_products=201).fingerprint}
    assert len(prints) == 4
    assert make().fingerprint == make(compat="upstream", split="test").fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "no split 'dev'"),
        ({"observation": "txt"}, "did you mean 'text'"),
        ({"goals": "humans"}, "did you mean 'human'"),
        ({"compat": "up"}, "compat can't be 'up'"),
        ({"backend": "selenium"}, "backend can't be"),
        ({"nouns": "spacey"}, "did you mean 'spacy'"),
        ({"nouns": "list"}, "needs a data folder"),
        ({"num_prev_obs": -1}, "num_prev_obs must be"),
        ({"price_seed": "../x"}, "price_seed must be"),
        ({"num_products": 0}, "num_products must be"),
        ({"price_seed": 10**300}, "price_seed must be"),
        ({"num_prev_obs": 10**5000}, "num_prev_obs must be"),
        ({"data": 5}, "data must be a folder"),
        ({"max_steps": 0}, "max_steps must be"),
        ({"max_steps": True}, "max_steps must be"),
        ({"num_products": 3, "goals": "human", "split": "valid"}, "has no goals"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        WebShopEnv(**({"num_products": 200} | options))


def test_data_may_start_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"{tmp_path}/shop"):
        WebShopEnv(data="~/shop")


def test_unknown_tasks(make):
    env = make("test")
    for task in ("synthetic-99999", "human-0", "synthetic-1.5", "synthetic-007", "synthetic-" + "9" * 5000, "B000000000", 10**9, -1, 1.5j):
        with pytest.raises(TaskError):
            env.reset(options={"task": task})
    with pytest.raises(DataError, match="does not exist"):
        WebShopEnv(data="/nonexistent/folder")


def test_nothing_before_the_first_reset(make):
    env = make()
    for use in (lambda: env.instruction, lambda: env.step("search[x]"), env.expert, env.snapshot):
        with pytest.raises(TaskError, match="reset"):
            use()
