"""The goals of a catalogue, in the shuffled order that defines goal numbers, and the prices of its products.

The table consists of a few columns in files; a goal is assembled on request.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from pathlib import Path
from typing import Protocol

from empg_gym.envs.webshop.column import Column
from empg_gym.envs.webshop.goal import Goal, price_clause
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.store import ProductStore


def combination(product: Product, number: int) -> tuple[tuple[str, str], ...]:
    """Return combination `number` of a product's options, as (name, value) pairs."""
    chosen: list[tuple[str, str]] = []
    for name, values in sorted(product.options, reverse=True):
        number, place = divmod(number, len(values))
        chosen.append((name, values[place]))
    return tuple(reversed(chosen))


class Sums(Protocol):
    """Cumulative sums: an array, or a column in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> float: ...


class Sampling:
    """Draws one of a range of goals by weight.

    Args:
        sums: cumulative sum of the weights up to and including each goal.
        goals: the goals to draw from.
    """

    def __init__(self, sums: Sums, goals: range) -> None:
        self._sums = sums
        self._goals = goals
        self._before = float(sums[goals.start - 1]) if goals.start else 0.0
        self._total = float(sums[goals.stop - 1]) - self._before

    def upstream(self, rng: random.Random) -> int:
        """Return a position in the range as upstream draws it.

        Its list of cumulative sums starts with a 0 that the search doesn't skip: the first goal is never drawn, every other goal has
        the weight of the previous one, and the last one has its own weight in addition.
        """
        return min(1 + self._place(self._before + rng.uniform(0, self._total)), len(self._goals) - 1)

    def weighted(self, position: float) -> int:
        """Return the position in the range for a number in [0, 1), with the goals' own weights."""
        return min(self._place(self._before + position * self._total), len(self._goals) - 1)

    def _place(self, position: float) -> int:
        return bisect_right(self._sums, position, self._goals.start, self._goals.stop) - self._goals.start


class GoalTable:
    """Goals and prices, as written by `build_goals`.

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
        self._prices = Column(folder, "prices")
        self._product = Column(folder, "product")
        self._variant = Column(folder, "variant")
        self._price_upper = Column(folder, "price_upper")
        self._weight = Column(folder, "weight")
        self._cumulative = Column(folder, "cumulative")

    def __len__(self) -> int:
        return len(self._product)

    def price(self, ordinal: int) -> float:
        """Return the price of a product, in dollars."""
        return float(self._prices[ordinal])

    def product(self, index: int) -> Product:
        """Return the product from which goal `index` was generated."""
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
        """Return the sampling of a range of goals."""
        return Sampling(self._cumulative, goals)

    def sampler(self) -> random.Random:
        """Return the generator in the state of upstream's unseeded process after shuffling the goals."""
        version, words, gauss = json.loads((self._folder / "sampler.json").read_text())
        generator = random.Random()
        generator.setstate((version, tuple(words), gauss))
        return generator
