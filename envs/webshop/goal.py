"""A goal: what the instruction asks for, and what the purchase is judged by."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED = 1_000_000.0
"""Price cap, in dollars, of a goal whose instruction names none."""

PRICE_STEPS: tuple[float, ...] = tuple(10.0 * step for step in range(1, 100))
"""Dollars that a price cap is drawn from."""


@dataclass(frozen=True)
class Goal:
    """One task of the shop."""

    index: int
    """Place in the shuffled order that everybody's goal numbers refer to."""
    asin: str
    """The product that the instruction was made from; others may be worth as much."""
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | tuple[tuple[str, str], ...]
    """Values for a human goal, (name, value) pairs for a synthetic one."""
    price_upper: float
    """Dollars that the purchase may cost at most."""
    weight: float
    """Share in upstream's sampling, not normalised."""


def price_clause(price_upper: float) -> str:
    """Return the end of an instruction that names the price cap."""
    return "" if price_upper == UNLIMITED else f", and price lower than {price_upper:.2f} dollars"
