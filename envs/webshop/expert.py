"""A shopper who knows the goal's product: searches for it, opens it, chooses what was asked for and buys it.

Rules:
    - From any state the next action is admissible and lies on a way to reward 1.
    - Where the goal's own product can't reach reward 1, or no search by its texts shows it, there is no action.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from empg_gym.envs.webshop import fuzzy
from empg_gym.envs.webshop.actions import can_be_clicked
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.page import PAGE_SIZE, Page, PageKind
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import count_options
from empg_gym.envs.webshop.shop import Shop

_MOST_COMBINATIONS = 20_000
_BUTTONS = {"back to search", "< prev", "next >", "description", "features", "reviews", "attributes", "buy now", "search"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to buy what a goal asks for."""

    keywords: tuple[str, ...]
    page: int
    """Page of the results that shows the product, from 1."""
    asin: str
    options: dict[str, str]
    """Option name to value."""


class Expert:
    """The shopper of one environment.

    Args:
        shop: the shop.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._plan: tuple[int, Plan | None] = (-1, None)

    def action(self, goal: Goal, page: Page) -> str | None:
        """Return the next action, or None if there is none that leads to reward 1."""
        if self._plan[0] != goal.index:
            self._plan = (goal.index, make_plan(self._shop, goal))
        plan = self._plan[1]
        if plan is None or page.kind is PageKind.DONE:
            return None
        if page.kind is PageKind.INDEX:
            return f"search[{' '.join(plan.keywords)}]"
        if page.kind is PageKind.RESULTS:
            return _on_results(plan, page)
        if page.product.asin != plan.asin:
            return "click[back to search]"
        if page.kind is PageKind.SUB:
            return "click[< prev]"
        chosen = dict(page.chosen)
        missing = [value for name, value in plan.options.items() if chosen.get(name) != value]
        return f"click[{missing[0]}]" if missing else "click[buy now]"


def _on_results(plan: Plan, page: Page) -> str:
    if any(product.asin == plan.asin for product in page.products):
        return f"click[{plan.asin.lower()}]"
    if page.keywords != plan.keywords:
        return "click[back to search]"
    return "click[next >]" if page.number < plan.page else "click[< prev]"


def make_plan(shop: Shop, goal: Goal) -> Plan | None:
    """Return a plan with reward 1, or None."""
    ordinal = shop.store.ordinal(goal.asin)
    if ordinal is None:
        return None
    product = shop.store[ordinal]
    options = choose_options(product, goal)
    if options is None or shop.judge(goal, product, options.values()).total != 1.0:
        return None
    plans = []
    for keywords in _queries(product):
        results = shop.engine.search(keywords)
        if ordinal in results:
            plans.append(Plan(keywords, results.index(ordinal) // PAGE_SIZE + 1, product.asin, options))
    return min(plans, key=lambda plan: plan.page, default=None)


def _queries(product: Product) -> list[tuple[str, ...]]:
    texts = (product.title, f"{product.title} {product.query}", product.document[:400])
    words = (tuple(text.lower().replace("[", " ").replace("]", " ").split()) for text in texts)
    return [query for query in words if query]


def choose_options(product: Product, goal: Goal) -> dict[str, str] | None:
    """Return option values that meet all of the goal's options, as few as possible; None if the product lacks them."""
    wanted = [str(normalize_color(option)) for option in goal.options]
    if not wanted:
        return {}
    useful: dict[str, list[str]] = {}
    for value, name in product.choices.items():
        if can_be_clicked(value) and value not in _BUTTONS and _meets(value, wanted):
            useful.setdefault(name, []).append(value)
    exact = {pair if isinstance(pair, str) else pair[1] for pair in goal.options}
    for values in useful.values():
        values.sort(key=lambda value: value not in exact)
    combinations = itertools.product(*useful.values())
    for chosen in itertools.islice(combinations, _MOST_COMBINATIONS):
        if count_options(chosen, goal.options) == len(wanted):
            return dict(zip(useful, chosen, strict=True))
    return None


def _meets(value: str, wanted: list[str]) -> bool:
    color = str(normalize_color(value))
    return any(fuzzy.matches(color, one) for one in wanted)
