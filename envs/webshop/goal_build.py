"""Draws prices and price caps, lists the goals and shuffles them, as upstream does at start-up.

Rules:
    - One generator, `random.Random(price_seed)`, is used in upstream's order: a price for every product with a price range, in
      catalogue order; then a price cap for every human goal, or for every product with synthetic goals.
    - The order of goals comes from `random.Random(233)` and depends only on their number. Upstream then draws sessions and goals from the
      same generator, so its state is stored.
    - A product's synthetic goals are the combinations of its option values; options are sorted by name, and the last varies fastest.
"""

from __future__ import annotations

import json
import math
import random
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from empg_gym.envs.webshop.goal import PRICE_STEPS, UNLIMITED
from empg_gym.envs.webshop.product import NO_PRICE, Product

ORDER_SEED = 233
KINDS = ("synthetic", "human")


def draw_price(pricing: tuple[float, ...], rng: random.Random) -> float:
    """Draw the price of a product, in dollars."""
    if len(pricing) >= 2:
        return rng.uniform(pricing[0], pricing[1])
    return pricing[0] if pricing else NO_PRICE


def draw_cap(price: float, rng: random.Random) -> float:
    """Draw a price cap above `price`: the higher of two of the next four steps, or `UNLIMITED` if fewer than two remain."""
    first = math.floor(price / 10.0)
    above = [step for step in PRICE_STEPS[max(0, first - 1) : first + 6] if step > price][:4]
    return max(rng.sample(above, 2)) if len(above) >= 2 else UNLIMITED


class _Columns:
    """Goals in the order of listing, one entry per goal."""

    def __init__(self) -> None:
        self.product = array("i")
        self.variant = array("i")
        self.price_upper = array("d")

    def add(self, product: int, variants: Iterable[int], price_upper: float) -> None:
        for variant in variants:
            self.product.append(product)
            self.variant.append(variant)
            self.price_upper.append(price_upper)


def _list_goals(products: Iterable[Product], prices: array[float], kind: str, rng: random.Random) -> tuple[_Columns, array[float]]:
    """Return the goals and their weights."""
    columns = _Columns()
    wanted: dict[int, tuple[str, ...]] = {}
    counts: Counter[str] = Counter()
    for ordinal, product in enumerate(products):
        if kind == "human":
            for number, instruction in enumerate(product.human):
                if instruction.attributes:
                    columns.add(ordinal, [number], draw_cap(prices[ordinal], rng))
        elif product.instruction is not None and product.instruction_attributes:
            combinations = math.prod(len(values) for _, values in product.options)
            columns.add(ordinal, range(combinations), draw_cap(prices[ordinal], rng))
            wanted[ordinal] = tuple(map(sys.intern, product.instruction_attributes))
            for attribute in wanted[ordinal]:
                counts[attribute] += combinations
    if kind == "human":
        return columns, array("d", [1.0]) * len(columns.product)
    weight = {
        ordinal: sum(1.0 / counts[attribute] for attribute in attributes) / len(attributes)
        for ordinal, attributes in wanted.items()
        if all(counts[attribute] for attribute in attributes)
    }
    return columns, array("d", (weight[ordinal] for ordinal in columns.product))


def build_goals(products: Iterable[Product], kind: str, price_seed: int, folder: Path) -> None:
    """Write the price of every product and the shuffled goals to `folder`.

    Args:
        products: the catalogue in order; iterated over twice.
        kind: "synthetic" or "human".
        price_seed: seed of prices and price caps.
        folder: an existing folder, for prices, product, variant, price_upper, weight, cumulative (`.npy`) and `sampler.json`.
    """
    rng = random.Random(price_seed)
    prices = array("d", (draw_price(product.pricing, rng) for product in products))
    columns, weights = _list_goals(products, prices, kind, rng)
    sampler = random.Random(ORDER_SEED)
    places = array("i", range(len(columns.product)))
    sampler.shuffle(places)
    order = np.asarray(places)
    np.save(folder / "prices.npy", np.asarray(prices))
    for name, column in (
        ("product", np.asarray(columns.product)),
        ("variant", np.asarray(columns.variant)),
        ("price_upper", np.asarray(columns.price_upper)),
        ("weight", np.asarray(weights)),
    ):
        np.save(folder / f"{name}.npy", column[order])
    np.save(folder / "cumulative.npy", np.cumsum(np.asarray(weights)[order]))
    (folder / "sampler.json").write_text(json.dumps(sampler.getstate()))
