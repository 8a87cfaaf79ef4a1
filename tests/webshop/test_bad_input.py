"""Any text from an agent gets a reply, raises no error, and leaves the environment usable."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.errors import TaskError

words = st.sampled_from(
    [
        *("search", "click", "[", "]", "]]", "buy now", "back to search", "< prev", "next >", "description", "attributes"),
        *("<r>", "<a>", "<c> beauty", "<q>", "search_results", "shoes", "B0", "'", '"', "{}", " ", "\n", "\x00", "\u2028", "\ud800"),
        *("İ", "ß", "e\u0301", "日本語", "🛒"),
    ]
)
texts = st.one_of(
    st.lists(words, max_size=8).map("".join),
    st.lists(words, max_size=8).map(lambda parts: f"search[{''.join(parts)}]"),
    st.lists(words, max_size=4).map(lambda parts: f"click[{''.join(parts)}]"),
    st.text(max_size=40),
)


@pytest.fixture(scope="module", params=["default", "upstream"])
def env(request):
    return WebShopEnv("all", num_products=100, max_steps=10_000, compat=request.param, show_attrs=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(texts, st.integers(0, 30)), max_size=12), st.integers(0, 2**32 - 1))
def test_any_actions(env, actions, seed):
    _, info = env.reset(seed=seed)
    for action in actions:
        if isinstance(action, int):  # index of a clickable thing
            admissible = info["admissible_actions"] or ["nothing"]
            action = admissible[action % len(admissible)]
        before = env.view.state
        observation, reward, _, _, info = env.step(action)
        assert env.observation_space.contains(observation)
        assert 0.0 <= reward <= 1.0
        if not info["valid_action"]:
            assert env.view.state == before
            assert reward == 0.0
        assert all(thing in env.view.clickables() for thing in (click[6:-1] for click in info["admissible_actions"] if click[0] == "c"))


@pytest.mark.parametrize(
    "action",
    [
        "search[" + "word " * 20_000 + "]",
        "search[" + "x" * 100_000 + "]",
        "search[" + "".join(chr(code) for code in range(1, 0x3000) if chr(code) != "\n") + "]",
        "click[" + "[" * 100_000 + "]",
        "]" + "[" * 100_000,
        "search[" * 20_000,
        "\n" * 100_000,
    ],
    ids=["words", "one word", "all of Unicode", "brackets", "brackets without end", "searches", "lines"],
)
def test_long_actions(env, action):
    env.reset(seed=0)
    for _ in range(2):
        observation, reward, terminated, _, _ = env.step(action)
        assert (reward, terminated) == (0.0, False)
        assert isinstance(observation, str)
    assert env.step("search[shoes]")[4]["page"] == "search_results"


def test_actions_other_than_strings_are_refused(env):
    env.reset(seed=0)
    for action in (None, 5, ["search[x]"], b"search[x]"):
        with pytest.raises(TaskError, match=r"expects an action as text, a str, not"):
            env.step(action)
    assert env.step("search[x]")[4]["step"] == 1


def test_clicks_after_the_end(env):
    env.reset(seed=0)
    while not env.view.state.outcome:
        env.step(env.expert())
    for action in ("click[buy now]", "click[< prev]", "click[back to search]", "click[" + env.view.page.product.asin + "]"):
        _, reward, terminated, _, info = env.step(action)
        assert (reward, terminated, info["valid_action"], info["page"]) == (0.0, True, False, "done")
    assert env.score == 1.0
