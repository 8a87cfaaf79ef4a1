"""The goals of a catalogue, in the shuffled order that everybody's goal numbers refer to, and the prices that belong to them.

The table is a few mapped columns; a goal is put together when it is asked for.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from empg_gym.envs.webshop.goal import Goal, price_clause
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.store import ProductStore
from empg_gym.retrieval.strings import load_array


def combination(product: Product, number: int) -> tuple[tuple[str, str], ...]:
    """Return the (name, value) pairs of a product's combination of options `number`."""
    chosen: list[tuple[str, str]] = []
    for name, values in sorted(product.options, reverse=True):
        number, place = divmod(number, len(values))
        chosen.append((name, values[place]))
    return tuple(reversed(chosen))


class Sampling:
    """Draws among consecutive goals by weight.

    Args:
        sums: running sum of the weights up to and including each goal, shape (goals,); a view of the mapped column.
        before: the sum before the first of them.
    """

    def __init__(self, sums: NDArray[np.float64], before: float = 0.0) -> None:
        self._sums = sums
        self._before = before
        self._total = float(sums[-1]) - before

    def upstream(self, rng: random.Random) -> int:
        """Return a place as upstream draws it.

        Its list of running sums begins with a 0 that the search doesn't skip: the first goal is never drawn, every other one has
        the weight of the goal before it, and the last one has its own on top.
        """
        position = self._before + rng.uniform(0, self._total)
        return min(1 + int(np.searchsorted(self._sums, position, side="right")), len(self._sums) - 1)

    def weighted(self, position: float) -> int:
        """Return the place that `position` in [0, 1) falls on, each goal having its weight."""
        found = int(np.searchsorted(self._sums, self._before + position * self._total, side="right"))
        return min(found, len(self._sums) - 1)


class GoalTable:
    """Goals and prices, as `build_goals` wrote them.

    Args:
        folder: the folder of the columns.
        kind: "synthetic" or "human".
        store: the products that the goals refer to.

    Raises:
        DataError: a column is missing or damaged.
    """

    def __init__(self, folder: Path, kind: str, store: ProductStore) -> None:
        self.kind = kind
        self._folder = folder
        self._store = store
        self._prices = load_array(folder, "prices")
        self._product = load_array(folder, "product")
        self._variant = load_array(folder, "variant")
        self._price_upper = load_array(folder, "price_upper")
        self._weight = load_array(folder, "weight")
        self._cumulative = cast("NDArray[np.float64]", load_array(folder, "cumulative"))

    def __len__(self) -> int:
        return len(self._product)

    def price(self, ordinal: int) -> float:
        """Return what a product costs, in dollars."""
        return float(self._prices[ordinal])

    def product(self, index: int) -> Product:
        """Return the product that goal `index` was made from."""
        return self._store[int(self._product[index])]

    def __getitem__(self, index: int) -> Goal:
        product = self.product(index)
        variant = int(self._variant[index])
        price_upper = float(self._price_upper[index])
        options: tuple[str, ...] | tuple[tuple[str, str], ...]
        if self.kind == "human":
            request = product.human[variant]
            text, attributes, options = request.text.strip("."), request.attributes, request.options
        else:
            options = combination(product, variant)
            chosen = ", and ".join(f"{name}: {value}" for name, value in options)
            text = (product.instruction or "") + (f" with {chosen}" if chosen else "")
            attributes = product.instruction_attributes
        return Goal(
            index=index,
            asin=product.asin,
            category=product.category,
            query=product.query,
            name=product.title,
            product_category=product.product_category,
            instruction=text + price_clause(price_upper),
            attributes=attributes,
            options=options,
            price_upper=price_upper,
            weight=float(self._weight[index]),
        )

    def sampling(self, goals: range) -> Sampling:
        """Return the sampling among consecutive goals."""
        before = float(self._cumulative[goals.start - 1]) if goals.start else 0.0
        return Sampling(self._cumulative[goals.start : goals.stop], before)

    def sampler(self) -> random.Random:
        """Return the generator with which upstream's unseeded process goes on after shuffling the goals."""
        version, words, gauss = json.loads((self._folder / "sampler.json").read_text())
        generator = random.Random()
        generator.setstate((version, tuple(words), gauss))
        return generator
