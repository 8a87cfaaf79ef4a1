"""The pages and the transitions between them."""

import pickle

import pytest

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.page import PageKind
from tests.webshop.records import codes, record, write_official

CODES = codes(25)
CLASH = {"Color": [{"value": "Red"}, {"value": "Buy Now"}, {"value": "Features"}], "Shade": [{"value": "red"}, {"value": "a[b"}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    records = [record(code, category="garden" if number % 2 else "beauty", query="cups") for number, code in enumerate(CODES)]
    records[7] = record(CODES[7], name="Clash Bowl", customization_options=CLASH)
    return write_official(tmp_path_factory.mktemp("data"), records)


def play(env, *actions):
    info = env.reset(options={"task": 0})[1]
    for action in actions:
        _, _, _, _, info = env.step(action)
    return info


@pytest.fixture(params=["default", "upstream"])
def env(request, data):
    return WebShopEnv("all", data=data, compat=request.param, max_steps=1000)


def state(env):
    return env.view.state.summary()


def test_search_and_turn_pages(env):
    info = play(env, "search[Plain  Mug]")
    assert info["page"] == "search_results"
    assert state(env) == {
        "keywords": ["plain", "", "mug"], "page": 1, "asin": None, "asins": [], "options": {}, "actions": {"search": 1},
    }  # fmt: skip
    assert info["admissible_actions"][:2] == ["click[back to search]", "click[next >]"]
    for _ in range(3):
        info = env.step("click[Next >]")[4]
    assert (state(env)["page"], state(env)["actions"]) == (4, {"search": 4})
    assert info["admissible_actions"] == ["click[back to search]", "click[< prev]", "click[next >]"], "past the end is empty, not barred"
    env.step("click[< prev]")
    assert state(env)["page"] == 3


def test_item_options_and_subpages(env):
    code = CODES[3].lower()
    info = play(env, "search[<q> cups]", "click[next >]", "click[< prev]", f"click[{code}]")
    assert info["page"] == "item_page"
    assert info["admissible_actions"][-2:] == ["click[red | blue]", "click[green]"]
    env.step("click[green]")
    info = env.step("click[RED | BLUE]")[4]
    assert state(env)["options"] == {"color": "red | blue"}
    assert state(env)["actions"]["options"] == 2
    for name in ("Description", "Features", "Reviews"):
        assert env.step(f"click[{name.lower()}]")[4]["page"] == "item_sub_page"
        assert state(env)["actions"][name] == 1
        assert env.step("click[< prev]")[4]["page"] == "item_page"
        assert state(env)["options"] == {"color": "red | blue"}
    assert env.step("click[attributes]")[4]["valid_action"] is False
    assert env.step("click[< prev]")[4]["page"] == "search_results"
    assert state(env)["options"] == {}
    assert state(env)["asins"] == [CODES[3]]
    assert env.step("click[back to search]")[4]["page"] == "index"
    assert state(env) == {"keywords": None, "page": None, "asin": None, "asins": [], "options": {}, "actions": {}}


def test_actions_without_effect(env):
    play(env, "search[plain mug]")
    before = env.view.state
    for action in (
        "click[search]",
        "click[buy now]",
        "click[ next > ]",
        "Click[next >]",
        "next >",
        "search[]",
        "click[nothing]",
        "think[hm]",
    ):
        observation, reward, terminated, _, info = env.step(action)
        assert (reward, terminated, info["valid_action"]) == (0.0, False, False)
        assert env.view.state == before
        assert observation == text.text(env.view.page)


def test_search_works_on_every_page(env):
    play(env, "search[clash bowl]", f"click[{CODES[7].lower()}]", "click[description]")
    assert env.step("search[plain mug]")[4]["page"] == "search_results"


def test_values_that_read_like_buttons_act_as_buttons(env):
    info = play(env, "search[clash bowl]", f"click[{CODES[7].lower()}]")
    assert info["admissible_actions"][-1] == "click[red]", "a value with a bracket can't be written"
    assert env.view.clickables()[-2:] == ["red", "a[b"]
    env.step("click[red]")
    assert state(env)["options"] == {"shade": "red"}, "of a value under two options the later one counts"
    assert env.step("click[features]")[4]["page"] == "item_sub_page"
    env.step("click[< prev]")
    _, _, terminated, _, _ = env.step("click[buy now]")
    assert terminated


def test_after_the_purchase(data):
    actions = ["search[<q> cups]", "click[next >]", f"click[{CODES[11].lower()}]", "click[buy now]"]
    default, upstream = (WebShopEnv("all", data=data, compat=compat, max_steps=99) for compat in ("default", "upstream"))
    for env in (default, upstream):
        info = play(env, *actions)
        assert info["page"] == "done"
        assert info["admissible_actions"] == []
        assert info["reward_details"]["r_type"] > 0
        assert env.step("click[back to search]")[4]["valid_action"] is False
    _, reward, terminated, _, info = default.step("search[plain mug]")
    assert (reward, terminated, info["page"], info["valid_action"]) == (0.0, True, "done", False)
    _, reward, terminated, _, info = upstream.step("search[plain mug]")
    assert (reward, terminated, info["page"], info["valid_action"]) == (0.0, True, "search_results", True)


def results(env):
    return [product.asin for product in env.view.page.products]


def test_special_words(env):
    play(env, "search[<c> beauty]")
    assert (env.view.page.total, results(env)) == (13, CODES[:20:2])
    play(env, "search[<q> cups]")
    assert env.view.page.total == 24
    play(env, "search[<a> easy clean]")
    assert (env.view.page.total, results(env)) == (25, CODES[:10])
    for nothing in ("search[<c>]", "search[<a>]", "search[<q> none]", "search[the]", "search[ ]"):
        play(env, nothing)
        assert env.view.page.total == 0
        assert env.view.page.kind is PageKind.RESULTS


def test_random_sample(data):
    default, upstream = (WebShopEnv("all", data=data, compat=compat, max_steps=99) for compat in ("default", "upstream"))
    for env in (default, upstream):
        env.reset(seed=3, options={"task": 0})
        env.step("search[<r>]")
        assert env.view.page.total == 25
        first = results(env)
        env.step("click[next >]")
        second = results(env)
        assert set(first) != set(CODES[:10])
        env.step("click[< prev]")
        assert (results(env) == first) == (env is default)
        assert env is upstream or not set(first) & set(second), "by default the pages of a sample share no products"
        env.reset(seed=3, options={"task": 0})
        env.step("search[<r>]")
        assert results(env) == first, "the seed determines the sample"


def test_addresses_that_mislead_upstream(data):
    """Upstream guesses the page from its address: a query with a page's name sends "< prev" to the wrong page."""
    actions = ["search[mug search_results]", f"click[{CODES[0].lower()}]", "click[description]", "click[< prev]"]
    default, upstream = (WebShopEnv("all", data=data, compat=compat, max_steps=99) for compat in ("default", "upstream"))
    assert play(default, *actions)["page"] == "item_page"
    assert play(upstream, *actions)["page"] == "search_results"
    assert upstream.view.state.page == 0
    assert play(upstream, *[action.replace("search_results", "item_page") for action in actions])["page"] == "search_results"


def test_states_are_small_and_picklable(env):
    play(env, "search[plain mug]", f"click[{CODES[0].lower()}]")
    copy = pickle.loads(pickle.dumps(env.view.state))
    assert copy == env.view.state
    assert len(pickle.dumps(env.view.state)) < 2000
