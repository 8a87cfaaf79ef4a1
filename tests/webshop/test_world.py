"""The embedded world: deterministic, of any size, and with instructions that can be met."""

import hashlib

import pytest

from empg_gym.envs.webshop import fuzzy
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.expert import make_plan
from empg_gym.envs.webshop.goal_build import draw_price
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.world import catalogue, phrases
from empg_gym.envs.webshop.world.taxonomy import CATEGORIES, KINDS


@pytest.fixture(scope="module")
def products():
    return [catalogue.make_product(number) for number in range(3000)]


def test_products_never_change_unnoticed(products):
    """A change of products requires a change of `catalogue.VERSION`."""
    digest = hashlib.sha256("".join(product.to_json() for product in products).encode()).hexdigest()[:16]
    assert (catalogue.VERSION, digest) == ("1", "fc88c479de0bd91a")


def test_a_product_depends_on_its_number_alone(products):
    assert catalogue.make_product(2999) == products[2999]
    assert catalogue.make_product(123_456_789).asin not in {product.asin for product in products}


def test_codes_are_unique():
    numbers = [*range(2000), *range(10**6, 10**6 + 2000), *range(2**30 - 2000, 2**30)]
    assert len({catalogue.asin(number) for number in numbers}) == len(numbers)
    assert len({catalogue.model_code(number) for number in numbers}) == len(numbers)
    assert all(len(catalogue.asin(number)) == 10 for number in numbers)


def test_variety(products):
    assert len(KINDS) == 60
    assert {product.category for product in products} == set(CATEGORIES) == {"beauty", "electronics", "fashion", "garden", "grocery"}
    assert {product.query for product in products} == {kind.query for kind in KINDS}
    assert len({product.title for product in products}) == len(products)
    assert sum(len(product.pricing) == 2 for product in products) > 300
    assert sum(product.price == "$100.0" for product in products) > 30
    assert 0.5 < sum(bool(product.human) for product in products) / len(products) < 0.7
    assert 0.3 < sum(product.instruction is not None for product in products) / len(products) < 0.5


def test_records_survive_the_store(products):
    for product in products[:300]:
        assert Product.from_json(product.to_json()) == product


def test_products_meet_their_instructions(products):
    for product in products:
        page = " ".join(product.bullets).lower()
        assert all(attribute in page for attribute in product.attributes)
        assert set(product.instruction_attributes) <= set(product.attributes)
        for request in product.human:
            assert request.attributes
            assert set(request.attributes) <= set(product.attributes)
            assert set(request.options) <= set(product.choices)
            assert all(value in request.text for value in request.options)


def test_every_option_value_meets_itself():
    """Comparing colors by substring makes some values impossible ("rosemary" contains "rose"); the world has none of these."""
    names = {family: name for kind in KINDS for name, family in kind.options}
    assert set(names) == set(phrases.OPTION_VALUES)
    for family, values in phrases.OPTION_VALUES.items():
        assert len(set(values)) == len(values)
        for value in values:
            assert value == value.strip().lower()
            goal = str(normalize_color((names[family], value)))
            assert fuzzy.matches(str(normalize_color(value)), goal), (family, value)


def test_values_are_unambiguous(products):
    """No product has the same value under two options, or a value that reads like a button."""
    buttons = {"back to search", "< prev", "next >", "buy now", "search", "description", "features", "reviews", "attributes"}
    for product in products:
        assert len(product.choices) == sum(len(values) for _, values in product.options)
        assert not buttons & set(product.choices)


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_every_goal_can_be_met(make, goals):
    env = make(goals=goals)
    for index in range(env.num_tasks):
        plan = make_plan(env.shop, env.shop.goals[index])
        assert plan is not None, env.shop.goals[index].instruction
        assert 3 + plan.page + len(plan.options) <= 15


def test_price_is_always_below_the_cap(make):
    env = make()
    for index in range(0, env.num_tasks, 7):
        goal = env.shop.goals[index]
        assert env.shop.price(goal.asin) < goal.price_upper


def test_prices_are_in_their_range(products):
    import random

    rng = random.Random(0)
    for product in products:
        assert min(product.pricing) <= draw_price(product.pricing, rng) <= max(product.pricing)
