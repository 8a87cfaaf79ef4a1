"""The reward on human logs of the full site, and the word-set similarity on pairs of the reference data."""

from __future__ import annotations

import json
import random
from functools import lru_cache

import pytest

from empg_gym.envs.webshop import fuzzy, tagger
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import TypeMatch, judge, title_score, type_factor
from tests.conformance.webshop import reference, webshop_cache  # noqa: F401

pytestmark = pytest.mark.usefixtures("webshop_cache")


def logs() -> list[list[dict]]:
    files = sorted((reference() / "mturk_logs").glob("*.jsonl"))
    assert len(files) == 26
    return [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line] for file in files]


@pytest.fixture(scope="module")
def small(webshop_cache) -> WebShopEnv:  # noqa: F811
    return WebShopEnv("all", data=reference() / "small")


def test_human_purchases():
    """All purchases of the 26 logs: options, price and type factor computed from the session, and the total from these.

    Parts that depend on the products' texts (matched attributes, nouns) are taken from the log: the site had 1.18 million products that
    the reference data lacks. The logs contain no weights; the logged parts with the weights of `judge` give the logged reward.
    """
    purchases = [pages[-1] for pages in logs() if pages[-1]["page"] == "done"]
    assert len(purchases) == 25, "one log ends before the purchase"
    for page in purchases:
        goal, content, expected = page["goal"], page["content"], page["reward_info"]
        assert not [key for key in expected if key.startswith("w_")]
        matches = expected["query_match"], expected["category_match"]
        kind = TypeMatch(type_factor(*matches, expected["title_score"]), *matches, expected["title_score"])
        assert kind.factor == expected["r_type"]
        found = judge(bought(page), wanted(goal), content["price"], content["options"].values(), kind)
        assert found.attributes == pytest.approx(expected["r_att"])
        assert found.options == (pytest.approx(expected["r_option"]) if goal["goal_options"] else expected.get("r_option"))
        assert found.price == expected["r_price"]
        w_att, w_option, w_price = found.weights
        parts = expected["r_att"] * w_att + expected.get("r_option", 0.0) * w_option + expected["r_price"] * w_price
        assert parts * expected["r_type"] == pytest.approx(page["reward"], abs=1e-12)
        assert found.total == pytest.approx(page["reward"], abs=1e-12)


def wanted(logged: dict) -> Goal:
    named = {key: logged[key] for key in ("asin", "category", "query", "name", "product_category", "price_upper", "weight")}
    texts = {"instruction": logged["instruction_text"], "attributes": tuple(logged["attributes"]), "options": tuple(logged["goal_options"])}
    return Goal(index=0, **named, **texts)


def bought(page: dict) -> Product:
    """Return a product with as many of the goal's attributes as in the log."""
    attributes = tuple(page["goal"]["attributes"])
    has = attributes[: round(page["reward_info"]["r_att"] * len(attributes))]
    texts = dict.fromkeys(("title", "description", "price", "category", "query", "product_category"), "")
    return Product(asin=page["content"]["asin"], bullets=(), pricing=(), options=(), attributes=has, **texts)


def test_title_scores_by_rule():
    """All nine logged scores of real spaCy are in the same class and within 0.04; three are equal to three digits."""
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
    """The quick decision equals that of the full ratio; `benchmarks.webshop_ratio` runs all pairs."""
    attributes, _ = vocabulary()
    assert len(attributes) == 598
    for number, first in enumerate(attributes):
        for second in attributes[number::8]:
            assert decides_alike(first, second), (first, second)


def test_pairs_of_options():
    """The same for option values, normalized as in the reward, without and with the option name of synthetic goals."""
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
