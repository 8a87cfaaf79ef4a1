"""The cases of upstream's own tests, and the other rules of the reward."""

import pytest

from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.goal import UNLIMITED, Goal
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import TypeMatch, count_attributes, count_options, judge, title_score, type_factor

SURE = TypeMatch(1.0, True, True, 1.0)


def product(**fields) -> Product:
    given = {
        "asin": "B000000000",
        "title": "",
        "description": "",
        "bullets": (),
        "price": "$10.0",
        "pricing": (10.0,),
        "options": (),
        "attributes": (),
        "category": "beauty",
        "query": "soap",
        "product_category": "A › B › C",
    }
    return Product(**(given | fields))


def goal(**fields) -> Goal:
    given = {
        "index": 0,
        "asin": "B000000000",
        "category": "beauty",
        "query": "soap",
        "name": "",
        "product_category": "A › B › C",
        "instruction": "",
        "attributes": ("x",),
        "options": (),
        "price_upper": UNLIMITED,
        "weight": 1.0,
    }
    return Goal(**(given | fields))


def test_attributes():
    wanted = ["tea tree", "essential oils", "natural ingredients"]
    assert count_attributes(product(attributes=("tea tree", "essential oil", "natural ingredients")), wanted) == 3
    assert count_attributes(product(attributes=("essential oil", "natural ingredients")), wanted) == 2
    assert count_attributes(product(title="With TEA tree", bullets=("Essential oils",), description="natural ingredients"), wanted) == 3
    assert count_attributes(product(title="tea"), ["Tea"]) == 0, "the wanted attribute is not lower-cased"


def test_options():
    wanted = ["cool powder snow", "XL", "pack of 12"]
    assert count_options(["pack of 12", "powder snow", "XL"], wanted) == 3
    assert count_options(["powder snow"], wanted) == 1
    assert count_options([], wanted) == 0
    assert count_options(["large"], [("size", "large")]) == 1
    assert count_options(["light grey"], [("color", "dark blue")]) == 0
    assert count_options(["light grey"], [("color", "dark grey")]) == 1, "of the bought value only the colour is left"
    assert count_options(["x-large"], ["large"]) == 1, "a subset of words counts in full"


def test_colors_are_substrings():
    assert normalize_color("standard") == "tan"
    assert normalize_color("tiered") == "red"
    assert normalize_color("z2-pink") == "pink"
    assert normalize_color(("color", "red")) == "red"
    assert normalize_color(("color", "dark red")) == ("color", "dark red")


@pytest.mark.parametrize(
    ("query", "category", "score", "factor"),
    [
        (False, False, 0.2, 0.5),
        (False, False, 0.21, 1.0),
        (True, False, 0.1, 1.0),
        (True, True, 0.09, 0.1),
        (True, True, 0.0, 0.0),
        (False, True, 0.2, 1.0),
    ],
)
def test_type_factor(query, category, score, factor):
    assert type_factor(query, category, score) == factor


def test_title_score_counts_repetitions_in_the_denominator():
    assert title_score(["a", "b"], ["a", "a", "b"]) == pytest.approx(2 / 3)
    assert title_score([], []) == 0.2


def test_sum_of_parts():
    wanted = goal(attributes=("tea tree", "vegan"), options=("red", "xl"), price_upper=20.0)
    bought = product(attributes=("tea tree",))
    reward = judge(bought, wanted, 20.0, ["red"], SURE)
    assert reward.total == pytest.approx(3 / 5)
    assert (reward.attributes, reward.options, reward.price) == (0.5, 0.5, True)
    assert sum(reward.weights) == pytest.approx(1.0)
    assert judge(bought, wanted, 20.01, ["red"], SURE).total == pytest.approx(2 / 5)
    assert judge(bought, wanted, 20.0, ["red"], TypeMatch(0.1, True, True, 0.05)).total == pytest.approx(3 / 50)


def test_goals_without_options_have_no_option_part():
    reward = judge(product(attributes=("x",)), goal(), 1.0, ["anything", "red"], SURE)
    assert reward.total == 1.0
    assert reward.options is None
    assert "r_option" not in reward.details()
    assert set(reward.details()) == {"r_type", "r_att", "w_att", "query_match", "category_match", "title_score", "r_price", "w_price"}
