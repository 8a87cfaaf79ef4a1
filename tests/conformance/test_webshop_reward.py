"""The reward against people's logs on the full site, and the word-set similarity on all pairs of the reference data."""

from __future__ import annotations

import json
import random
from functools import lru_cache

import pytest

from empg_gym.envs.webshop import fuzzy, tagger
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.reward import count_options, title_score, type_factor
from tests.conformance.webshop import reference, webshop_cache  # noqa: F401

pytestmark = pytest.mark.usefixtures("webshop_cache")


def logs() -> list[list[dict]]:
    files = sorted((reference() / "mturk_logs").glob("*.jsonl"))
    assert len(files) == 26
    return [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line] for file in files]


@pytest.fixture(scope="module")
def small(webshop_cache) -> WebShopEnv:  # noqa: F811
    return WebShopEnv("all", data=reference() / "small")


def test_people_s_purchases():
    """All purchases of the 26 logs: options, price and type factor from the session, and the total from them.

    What the products' own texts decide (matched attributes, nouns) is taken from the log: the site had 1.18 million products that
    the reference data lacks.
    """
    purchases = [pages[-1] for pages in logs() if pages[-1]["page"] == "done"]
    assert len(purchases) == 25, "one log ends before the purchase"
    for page in purchases:
        goal, content, expected = page["goal"], page["content"], page["reward_info"]
        n_options = count_options(content["options"].values(), goal["goal_options"])
        if goal["goal_options"]:
            assert n_options / len(goal["goal_options"]) == pytest.approx(expected["r_option"])
        else:
            assert "r_option" not in expected
        assert (content["price"] <= goal["price_upper"]) == expected["r_price"]
        factor = type_factor(expected["query_match"], expected["category_match"], expected["title_score"])
        assert factor == expected["r_type"]
        n_attributes = round(expected["r_att"] * len(goal["attributes"]))
        total = (n_attributes + n_options + expected["r_price"]) / (len(goal["attributes"]) + len(goal["goal_options"]) + 1) * factor
        assert total == pytest.approx(page["reward"], abs=1e-12)


def test_title_scores_by_rule():
    """All nine logged scores of real spaCy fall into the same class and lie within 0.04; three are equal to three digits."""
    pairs = json.loads((reference() / "title_score_pairs_from_mturk_logs.json").read_text(encoding="utf-8"))
    assert len(pairs) == 9
    equal = 0
    for pair in pairs:
        ours = title_score(tagger.tag(pair["purchased_name"]), tagger.tag(pair["goal_name"]))
        assert ours == pytest.approx(pair["title_score"], abs=0.04), pair
        equal += round(ours, 3) == round(pair["title_score"], 3)
        assert type_factor(False, False, ours) == type_factor(False, False, pair["title_score"]), pair
    assert equal == 3


def test_a_logged_random_purchase(small):
    """Upstream's random policy bought B09QPX97VW for the goal B099WX3CV5: 1/9, with real spaCy."""
    goal = next(goal for goal in map(small.shop.goals.__getitem__, range(len(small.shop.goals))) if is_the_logged_goal(goal))
    product = small.shop.store[small.shop.store.ordinal("B09QPX97VW")]
    reward = small.shop.judge(goal, product, [])
    assert reward.type.factor == 1.0
    assert reward.total == pytest.approx(1 / 9)


def is_the_logged_goal(goal) -> bool:
    return goal.asin == "B099WX3CV5" and dict(goal.options) == {"color": "green stripe", "size": "large"}


@lru_cache(maxsize=1)
def vocabulary() -> tuple[list[str], list[str]]:
    folder = reference() / "small"
    mined = json.loads((folder / "items_ins_v2_1000.json").read_text(encoding="utf-8"))
    items = json.loads((folder / "items_shuffle_1000.reconstructed.json").read_text(encoding="utf-8"))
    attributes = sorted({attribute for entry in mined.values() for attribute in entry["attributes"]})
    contents = [c for item in items for option in (item["customization_options"] or {}).values() for c in option or ()]
    return attributes, sorted({content["value"].strip().replace("/", " | ").lower() for content in contents})


def test_pairs_of_attributes():
    """The quick decision is that of the full ratio; `benchmarks.webshop_ratio` runs all pairs."""
    attributes, _ = vocabulary()
    assert len(attributes) == 598
    for number, first in enumerate(attributes):
        for second in attributes[number::8]:
            assert decides_alike(first, second), (first, second)


def test_pairs_of_options():
    """The same for option values, normalised as the reward does, bare and with a name as synthetic goals have them."""
    _, values = vocabulary()
    assert len(values) == 1945
    rng = random.Random(0)
    for first in values:
        color = str(normalize_color(first))
        for second in rng.sample(values, 6):
            assert decides_alike(color, str(normalize_color(second)))
            assert decides_alike(color, str(("size", second)))


def decides_alike(first: str, second: str) -> bool:
    return fuzzy.matches.__wrapped__(first, second) == (fuzzy.token_set_ratio(first, second) > fuzzy.THRESHOLD)
