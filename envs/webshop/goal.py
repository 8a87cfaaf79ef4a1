"""A goal: what the instruction asks for, and how the purchase is judged."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED = 1_000_000.0
"""Price cap, in dollars, of a goal without a price in its instruction."""

PRICE_STEPS: tuple[float, ...] = tuple(10.0 * step for step in range(1, 100))
"""Possible price caps, in dollars."""


@dataclass(frozen=True)
class Goal:
    """One task of the shop."""

    index: int
    """Position in the shuffled order, the goal number that the literature uses."""
    asin: str
    """The product that the instruction was generated from; others may give the same reward."""
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | tuple[tuple[str, str], ...]
    """Values for a human goal, (name, value) pairs for a synthetic one."""
    price_upper: float
    """Maximum price of the purchase, in dollars."""
    weight: float
    """Weight in upstream's sampling, not normalized."""


def price_clause(price_upper: float) -> str:
    """Return the end of an instruction, which names the price cap."""
    return "" if price_upper == UNLIMITED else f", and price lower than {price_upper:.2f} dollars"
