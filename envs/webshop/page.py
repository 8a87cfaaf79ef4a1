"""What the shop shows, independent of the format: all observation modes and the web site are rendered from this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from empg_gym.envs.webshop.product import Product

PAGE_SIZE = 10
"""Number of products on a page of results."""


class PageKind(StrEnum):
    """The five kinds of page; the values are upstream's names and part of its addresses."""

    INDEX = "index"
    """The search bar and the instruction."""
    RESULTS = "search_results"
    """Up to ten products found by a search."""
    ITEM = "item_page"
    """One product with its options."""
    SUB = "item_sub_page"
    """Description, features, reviews or attributes of a product."""
    DONE = "done"
    """After the purchase."""


class SubPage(StrEnum):
    """The kinds of sub page, as upstream names them in addresses and counters."""

    DESCRIPTION = "Description"
    FEATURES = "Features"
    REVIEWS = "Reviews"
    ATTRIBUTES = "Attributes"


SUB_PAGES: dict[str, SubPage] = {sub.value.lower(): sub for sub in SubPage}
"""Lower-cased button text to sub page."""


@dataclass(frozen=True)
class Page:
    """One page of a shopping session.

    Example: the second page of a search has kind RESULTS, keywords ("red", "shoes"), number 2, total 50 and ten products.
    """

    kind: PageKind
    session: str
    """Session id; part of addresses."""
    instruction: str
    """The instruction, without a label."""
    keywords: tuple[str, ...] = ()
    number: int = 0
    """Page of the results, counted from 1."""
    total: int = 0
    """Total number of results."""
    products: tuple[Product, ...] = ()
    """RESULTS: those on this page. ITEM, SUB, DONE: the one product."""
    visited: frozenset[str] = frozenset()
    """Asins of the products opened since the index page was last shown."""
    chosen: tuple[tuple[str, str], ...] = ()
    """(option name, value), in the order in which the options were first chosen."""
    sub: SubPage | None = None
    show_attributes: bool = False
    reward: float | None = None
    """DONE: the reward of the purchase."""

    @property
    def product(self) -> Product:
        """The product of an item page, sub page or done page."""
        return self.products[0]

    @property
    def has_search_bar(self) -> bool:
        """Whether the page has a search bar."""
        return self.kind is PageKind.INDEX

    @cached_property
    def buttons(self) -> tuple[str, ...]:
        """Texts of the buttons, in page order."""
        if self.kind is PageKind.RESULTS and self.number <= 1:
            return ("Back to Search", "Next >")
        if self.kind is PageKind.ITEM and self.show_attributes:
            return ("Back to Search", "< Prev", *SubPage, "Buy Now")
        return _BUTTONS[self.kind]

    @cached_property
    def clickables(self) -> list[str]:
        """Lower-cased texts that can be clicked, in upstream's order: buttons, product links, option values; no duplicates."""
        things = [button.lower() for button in self.buttons]
        if self.kind is PageKind.RESULTS:
            things += [product.asin.lower() for product in self.products]
        elif self.kind is PageKind.ITEM:
            return list(dict.fromkeys([*things, *self.product.choices]))
        return things


_BUTTONS: dict[PageKind, tuple[str, ...]] = {
    PageKind.INDEX: ("Search",),
    PageKind.RESULTS: ("Back to Search", "< Prev", "Next >"),
    PageKind.ITEM: ("Back to Search", "< Prev", "Description", "Features", "Reviews", "Buy Now"),
    PageKind.SUB: ("Back to Search", "< Prev"),
    PageKind.DONE: (),
}
