"""State keys of shopping sessions: equal if every later click and search has the same results."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.view import QUERY
from tests.bisimulation import keys_of_process, revisits
from tests.webshop.records import codes, record, write_official

MODES = ("text", "text_rich", "html", "url")
CODES = codes(25)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    records = [record(code, category="garden" if number % 2 else "beauty", query="cups") for number, code in enumerate(CODES)]
    options = {"Color": [{"value": "Red"}, {"value": "Blue"}], "Size": [{"value": "Big"}, {"value": "Small"}]}
    records[3] = record(CODES[3], name="Chosen Bowl", customization_options=options)
    return write_official(tmp_path_factory.mktemp("data"), records)


@pytest.fixture
def key(data):
    """Return a function that plays actions from the start and returns the key."""

    def play(*actions, mode="text", compat="default", task=0, **options):
        env = WebShopEnv("all", data=data, observation=mode, compat=compat, **options)
        env.reset(options={"task": task})
        for action in actions:
            assert env.step(action)[4]["valid_action"] or action == "nonsense"
        return env.state_key()

    return play


SEARCH, OTHER = "search[plain mug]", "search[cups]"
ITEM = f"click[{CODES[3].lower()}]"
FOUND = ("search[chosen bowl]", ITEM)
BACK = "click[back to search]"


@pytest.mark.parametrize("compat", ["default", "upstream"])
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_equal_keys_mean_equal_futures(data, mode, compat, seed):
    env = WebShopEnv("all", data=data, observation=mode, compat=compat, max_steps=10**6)
    env.reset(seed=seed)
    rng = random.Random(seed)

    def probes(info):
        clicks = [action for action in info["admissible_actions"] if action != QUERY]
        items = [action for action in clicks if action.startswith("click[b0")]
        rest = [action for action in clicks if action not in items]
        return [*rest, *(action for action in items if action == ITEM), *items[:1], "search[chosen bowl]", SEARCH, "click[nothing]"]

    assert revisits(env, probes, rng, walks=6, steps=10, depth=2) > 10


def test_two_paths_to_a_page_give_the_same_key(key):
    assert key() == key(SEARCH, BACK) == key("nonsense", *FOUND, BACK)
    assert key(SEARCH) == key(OTHER, SEARCH) == key(SEARCH, "click[next >]", "click[< prev]")
    assert key(*FOUND) == key(*FOUND, "click[features]", "click[< prev]") == key(*FOUND, "click[red]", "click[< prev]", ITEM)
    chosen = key(*FOUND, "click[red]", "click[big]")
    assert chosen == key(*FOUND, "click[big]", "click[blue]", "click[red]")
    assert chosen == key(*FOUND, "click[big]", "click[red]", mode="text")


def test_the_key_of_a_purchase_ignores_the_path_to_it(key):
    assert key(*FOUND, "click[red]", "click[buy now]") == key("search[bowl chosen]", ITEM, "click[red]", "click[buy now]")
    assert (
        len({key(*FOUND, *choice, "click[buy now]") for choice in ((), ("click[red]",), ("click[blue]",), ("click[red]", "click[big]"))})
        == 4
    )


def test_different_states_have_different_keys(key):
    ways = [
        (),
        (SEARCH,),
        (OTHER,),
        (SEARCH, "click[next >]"),
        FOUND,
        ("search[bowl chosen]", ITEM),
        (*FOUND, "click[red]"),
        (*FOUND, "click[blue]"),
        (*FOUND, "click[description]"),
        (*FOUND, "click[features]"),
        (*FOUND, "click[red]", "click[features]"),
        (*FOUND, "click[buy now]"),
    ]
    assert len({key(*way) for way in ways}) == len(ways)
    assert len({key(task=task) for task in range(5)}) == 5
    assert key() != key(price_seed=1)
    assert key() != key(show_attrs=True)
    assert len({key(mode=mode, compat=compat) for mode in MODES for compat in ("default", "upstream")}) == 8


@pytest.mark.parametrize("mode", MODES)
def test_opened_products_matter_where_results_mark_them(key, mode):
    search, again = FOUND[0], "click[< prev]"
    assert (key(search, ITEM, again, mode=mode) == key(search, mode=mode)) == (mode in ("text", "url"))


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_choices_matters_where_the_address_shows_it(key, mode):
    first = key(*FOUND, "click[red]", "click[big]", mode=mode)
    assert (first == key(*FOUND, "click[big]", "click[red]", mode=mode)) == (mode != "url")


def test_a_purchase_matters_when_upstream_continues(key):
    on = {"compat": "upstream"}
    assert key(*FOUND, "click[buy now]", SEARCH, **on) != key(SEARCH, **on)
    assert key(*FOUND, "click[buy now]", SEARCH, **on) == key(*FOUND, "click[buy now]", OTHER, SEARCH, **on)


def test_a_random_sample_matters_and_the_generator_does_not(data):
    env = WebShopEnv("all", data=data)
    _, other = env.reset(seed=0)
    start = env.state_key()
    keys = []
    for _ in range(3):
        env.step("search[<r>]")
        keys.append(env.state_key())
        env.step("click[next >]")
        env.step("click[< prev]")
        assert env.state_key() == keys[-1]
        env.step(BACK)
        assert env.state_key() == start
    assert len({*keys, start}) == 4
    env.reset(seed=1, options={"task": other["task"]})
    assert env.state_key() == start


def test_repeated_observations_and_the_step_limit_are_not_state(key):
    assert key(*FOUND) == key(*FOUND, num_prev_obs=2, num_prev_actions=3) == key(*FOUND, max_steps=2)


def test_a_restored_snapshot_has_the_same_key(data):
    env, other = (WebShopEnv("all", data=data) for _ in range(2))
    env.reset(options={"task": 2})
    for action in (*FOUND, "click[red]", "click[reviews]", "click[< prev]", "click[buy now]"):
        env.step(action)
        other.restore(env.snapshot())
        assert other.state_key() == env.state_key()


SCRIPT = """
from empg_gym.envs.webshop.env import WebShopEnv
for mode in ("text_rich", "url"):
    env = WebShopEnv("all", num_products=200, observation=mode)
    env.reset(seed=5)
    for action in ("search[<r>]", "click[next >]", "click[back to search]"):
        env.step(action)
        print(env.state_key())
    while (action := env.expert()) is not None:
        env.step(action)
        print(env.state_key())
"""


def test_keys_are_equal_in_every_process():
    runs = [keys_of_process(SCRIPT, hash_seed) for hash_seed in (1, 2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 8
