"""The kinds of product in the embedded world: 60 in five categories, with their possible properties (`kinds.txt`).

Rules:
    - An attribute that starts with "+" is something that a product comes *with*, with "=" something that it is *for*; others are placed
      before the noun. The sign is not part of the attribute.
    - Attributes of a kind come from its own list and from its category's.
    - Option families name lists of `phrases.OPTION_VALUES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product."""

    category: str
    query: str
    """The search phrase for the kind, in the plural."""
    path: str
    """Path in the shop's tree."""
    nouns: tuple[str, ...]
    """Names of such a product in titles, in the singular."""
    attributes: tuple[str, ...]
    """With their signs; see the module docstring."""
    options: tuple[tuple[str, str], ...]
    """(name on the page, option family)."""
    price: tuple[float, float]
    """Typical lowest and highest price, in dollars."""


def _parse(category: str, root: str, shared: str, line: str) -> Kind:
    query, path, nouns, own, options, price = line.split("|")
    low, high = price.split("-")
    return Kind(
        category=category,
        query=query,
        path=f"{root} › {path}",
        nouns=tuple(nouns.split(";")),
        attributes=tuple(dict.fromkeys([*own.split(";"), *shared.split(";")])),
        options=tuple((name, family) for name, _, family in (option.partition("=") for option in options.split(";"))),
        price=(float(low), float(high)),
    )


_LISTS = read_lists(Path(__file__).with_name("kinds.txt"), "\n")

CATEGORIES = tuple(_LISTS)
KINDS: tuple[Kind, ...] = tuple(
    _parse(category, root, shared, line) for category, (root, shared, *lines) in _LISTS.items() for line in lines
)
