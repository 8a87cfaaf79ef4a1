"""The reward of a purchase (Yao et al. 2022, section 3; upstream `get_reward`).

    reward = r_type * (matched attributes + matched options + price within the cap) / (attributes + options + 1)

Rules:
    - An attribute matches if it resembles one of the product's, or occurs word for word in its title, bullets or description.
    - An option matches if it resembles any chosen value, under any option name; additional choices cost nothing.
    - The type factor compares search phrase, category path and the nouns of the names; it is 1 unless all three differ, and at
      most 0.1 if the names share (nearly) no noun.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.envs.webshop import fuzzy
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.product import Product

NO_NOUNS = 0.2
"""Title score of a goal whose name has no nouns."""


@dataclass(frozen=True)
class TypeMatch:
    """How well the kind of the purchase matches the goal."""

    factor: float
    """r_type: 1, 0.5, 0.1 or 0."""
    query_match: bool
    category_match: bool
    title_score: float
    """Fraction of the goal's nouns in the name of the purchase."""


@dataclass(frozen=True)
class Reward:
    """The reward of a purchase and its parts."""

    total: float
    type: TypeMatch
    attributes: float
    """Matched fraction of the goal's attributes."""
    options: float | None
    """Matched fraction of the goal's options; None if it has none."""
    price: bool
    weights: tuple[float, float, float]
    """Weights of attributes, options and price in the sum."""

    def details(self) -> dict[str, Any]:
        """Return upstream's dictionary of parts (`verbose_info`)."""
        parts: dict[str, Any] = {
            "r_type": self.type.factor,
            "r_att": self.attributes,
            "w_att": self.weights[0],
            "query_match": self.type.query_match,
            "category_match": self.type.category_match,
            "title_score": self.type.title_score,
        }
        if self.options is not None:
            parts |= {"r_option": self.options, "w_option": self.weights[1]}
        return parts | {"r_price": self.price, "w_price": self.weights[2]}


def title_score(bought: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the fraction of the wanted nouns that were bought; a repeated wanted noun counts twice in the denominator only."""
    if not wanted:
        return NO_NOUNS
    return len(set(bought) & set(wanted)) / len(wanted)


def type_factor(query_match: bool, category_match: bool, score: float) -> float:
    """Return r_type; a title score below 0.1 overrides a match of phrase or category."""
    if score < 0.1:
        return 0.1 if score else 0.0
    return 1.0 if query_match or category_match or score > 0.2 else 0.5


def match_type(product: Product, goal: Goal, bought_nouns: Sequence[str], wanted_nouns: Sequence[str]) -> TypeMatch:
    """Compare the kind of the purchase with that of the goal."""
    query_match = product.query == goal.query
    category_match = len(_path(product.product_category) & _path(goal.product_category)) >= 2
    score = title_score(bought_nouns, wanted_nouns)
    return TypeMatch(type_factor(query_match, category_match, score), query_match, category_match, score)


def _path(category: str) -> set[str]:
    return {part.strip() for part in category.split("›")}


def count_attributes(product: Product, wanted: Iterable[str]) -> int:
    """Return how many of the wanted attributes the product has."""
    title = product.title.lower()
    bullets = " ".join(product.bullets).lower()
    description = product.description.lower()
    return sum(
        any(fuzzy.matches(own, attribute) for own in product.attributes)
        or attribute in title
        or attribute in bullets
        or attribute in description
        for attribute in wanted
    )


def count_options(chosen: Iterable[str], wanted: Iterable[str | tuple[str, str]]) -> int:
    """Return how many of the wanted options are among the chosen values.

    Args:
        chosen: option values.
        wanted: option values or (name, value) pairs.
    """
    bought = [str(normalize_color(value)) for value in chosen]
    goals = [str(normalize_color(option)) for option in wanted]
    return sum(any(fuzzy.matches(value, goal) for value in bought) for goal in goals)


def judge(product: Product, goal: Goal, price: float, options: Iterable[str], type_match: TypeMatch) -> Reward:
    """Return the reward for buying `product` with the option values `options` at `price` dollars."""
    n_attributes = count_attributes(product, goal.attributes)
    n_options = count_options(options, goal.options)
    within = price <= goal.price_upper
    parts = len(goal.attributes) + len(goal.options) + 1
    return Reward(
        total=(n_attributes + n_options + within) / parts * type_match.factor,
        type=type_match,
        attributes=n_attributes / len(goal.attributes) if goal.attributes else 0.0,
        options=n_options / len(goal.options) if goal.options else None,
        price=within,
        weights=(len(goal.attributes) / parts, len(goal.options) / parts, 1 / parts),
    )
