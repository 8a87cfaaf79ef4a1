import random

import numpy as np
import pytest

from empg_gym.envs.webshop.goal import UNLIMITED
from empg_gym.envs.webshop.goal_build import draw_cap, draw_price
from empg_gym.envs.webshop.goals import Sampling


def test_upstreams_draws():
    """The seed, weights and results of upstream's own test; the first index is never drawn."""
    rng = random.Random(24)
    weights = np.cumsum([rng.randint(0, 10) for _ in range(50)]).astype(float)
    assert [Sampling(weights, range(50)).upstream(rng) for _ in range(3)] == [44, 15, 36]
    assert {Sampling(np.array([5.0, 6.0, 7.0]), range(3)).upstream(random.Random(seed)) for seed in range(200)} == {1, 2}


def test_draws_follow_the_weights():
    sums = np.cumsum([1.0, 0.0, 3.0])
    drawn = [Sampling(sums, range(3)).weighted(place / 1000) for place in range(1000)]
    assert (drawn.count(0), drawn.count(1), drawn.count(2)) == (250, 0, 750)
    within = [Sampling(sums, range(1, 3)).weighted(place / 1000) for place in range(1000)]
    assert (within.count(0), within.count(1)) == (0, 1000)


@pytest.mark.parametrize("price", [0.5, 9.99, 10.0, 95.5, 949.99, 959.0, 960.0])
def test_caps_are_above_the_price(price):
    rng = random.Random(1)
    caps = {draw_cap(price, rng) for _ in range(300)}
    above = [step * 10.0 for step in range(1, 100) if step * 10.0 > price][:4]
    assert caps == set(above[1:])


def test_expensive_products_have_no_cap():
    assert draw_cap(980.0, random.Random(0)) == UNLIMITED
    assert draw_cap(5000.0, random.Random(0)) == UNLIMITED


def test_prices():
    rng = random.Random(0)
    assert draw_price((5.0,), rng) == 5.0
    assert draw_price((), rng) == 100.0
    assert 5.0 <= draw_price((5.0, 7.0), rng) <= 7.0


def test_price_seed_changes_caps_but_not_the_order(make):
    one, other = make(), make(price_seed=1)
    texts = [[env.shop.goals[index].instruction.split(", and price")[0] for index in range(100)] for env in (one, other)]
    assert texts[0] == texts[1]
    caps = [[env.shop.goals[index].price_upper for index in range(100)] for env in (one, other)]
    assert caps[0] != caps[1]
    assert one.fingerprint != other.fingerprint
