"""An expert that knows the goal's product: it searches for it, opens it, chooses the requested options and buys it.

Rules:
    - Its query comes from hidden knowledge ("direct": the product's own texts) or from what the agent sees ("search": the instruction
      without its price, with product ids as shown). A policy that sees only the conversation can imitate the second.
    - From any state the next action is admissible and on a path to reward 1.
    - If the goal's own product can't reach reward 1, or no search by its texts finds it, there is no action.
    - Its thoughts quote the instruction as far as the action is about it: the product before it opens one, the next option (after the
      previous one) before it chooses one, the price before it buys.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from empg_gym.envs.webshop import fuzzy
from empg_gym.envs.webshop.actions import can_be_clicked
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.goal import Goal, price_clause
from empg_gym.envs.webshop.page import PAGE_SIZE, Page, PageKind
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import count_options
from empg_gym.envs.webshop.shop import Shop

KNOWLEDGE = ("direct", "search")
_MOST_COMBINATIONS = 20_000
_PRICE = re.compile(r",? and price lower than [\d.]+ dollars\.?$")
_BUTTONS = {"back to search", "< prev", "next >", "description", "features", "reviews", "attributes", "buy now", "search"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to buy the product of a goal."""

    query: str
    """The words to search for."""
    keywords: tuple[str, ...]
    """The keywords that the shop reads from it."""
    page: int
    """Page of the results that shows the product, counted from 1."""
    asin: str
    options: dict[str, str]
    """Option name to value."""


Queries = Callable[[Product, Goal], list[str]]
"""Returns queries that may find a goal's product."""


class Expert:
    """The expert of one environment.

    Args:
        shop: the shop.
        knowledge: "direct" or "search"; see the module docstring.
    """

    def __init__(self, shop: Shop, knowledge: str = "direct") -> None:
        self._shop = shop
        self._as_shown = knowledge == "search"
        self._queries = _instruction_queries if self._as_shown else _product_queries
        self._plan: tuple[int, Plan | None] = (-1, None)

    def act(self, goal: Goal, page: Page, *, forgetful: bool = False) -> tuple[str | None, str]:
        """Return the next action on a path to reward 1, or None if there is none, and its thought.

        A forgetful expert does not choose the last of the goal's options, and nearly always buys for less than reward 1; its thoughts
        leave that option out of what they quote.
        """
        if self._plan[0] != goal.index:
            self._plan = (goal.index, make_plan(self._shop, goal, self._queries))
        plan = self._plan[1]
        if plan is None or page.kind is PageKind.DONE:
            return None, ""
        if page.kind is PageKind.INDEX:
            return f"search[{plan.query}]", ""
        if page.kind is PageKind.RESULTS:
            return _on_results(plan, goal, page, self._as_shown)
        if page.product.asin != plan.asin:
            return "click[< prev]" if page.keywords == plan.keywords else "click[back to search]", "This is another product."
        if page.kind is PageKind.SUB:
            return "click[< prev]", "Back to the product."
        chosen = dict(page.chosen)
        options = dict(list(plan.options.items())[:-1]) if forgetful else plan.options
        missing = [name for name, value in options.items() if chosen.get(name) != value]
        action = f"click[{options[missing[0]]}]" if missing else "click[buy now]"
        return action, _clause(goal, options, missing)


def _on_results(plan: Plan, goal: Goal, page: Page, as_shown: bool) -> tuple[str, str]:
    if any(product.asin == plan.asin for product in page.products):
        return f"click[{plan.asin if as_shown else plan.asin.lower()}]", _wanted(goal)
    if page.keywords != plan.keywords:
        return "click[back to search]", "Search again."
    return "click[next >]" if page.number < plan.page else "click[< prev]", "Not on this page."


def _wanted(goal: Goal) -> str:
    """Return the instruction as far as it is about the product, without options and price."""
    text = goal.instruction.removesuffix(price_clause(goal.price_upper))
    pairs = ", and ".join(": ".join(pair) for pair in goal.options if not isinstance(pair, str))
    return text.removesuffix(f" with {pairs}")


def _clause(goal: Goal, options: dict[str, str], missing: list[str]) -> str:
    """Return the words of the instruction from the previous option to the one to choose next, or to the price if none is missing."""
    named = dict(pair for pair in goal.options if not isinstance(pair, str))
    wording = {name: f"{name}: {value}" if named.get(name) == value else value for name, value in options.items()}
    names = list(options)
    place = names.index(missing[0]) if missing else len(names)
    before = options[names[place - 1]] if place else ""
    if not missing:
        return f"{before}{price_clause(goal.price_upper)}"
    return f"{before}, and {wording[missing[0]]}" if before else f"with {wording[missing[0]]}"


def make_plan(shop: Shop, goal: Goal, queries: Queries | None = None) -> Plan | None:
    """Return a plan with reward 1, or None; the queries default to the product's texts."""
    queries = queries or _product_queries
    ordinal = shop.store.ordinal(goal.asin)
    if ordinal is None:
        return None
    product = shop.store[ordinal]
    options = choose_options(product, goal)
    if options is None or shop.judge(goal, product, options.values()).total != 1.0:
        return None
    plans = []
    for query in queries(product, goal):
        keywords = tuple(query.lower().split(" "))
        results = shop.engine.search(keywords)
        if ordinal in results:
            plans.append(Plan(query, keywords, results.index(ordinal) // PAGE_SIZE + 1, product.asin, options))
    return min(plans, key=lambda plan: plan.page, default=None)


def _product_queries(product: Product, goal: Goal) -> list[str]:
    texts = (product.title, f"{product.title} {product.query}", product.document[:400])
    return [query for text in texts if (query := _typed(text.lower()))]


def _instruction_queries(product: Product, goal: Goal) -> list[str]:
    return [query] if (query := _typed(_PRICE.sub("", goal.instruction))) else []


def _typed(text: str) -> str:
    """Return a text in the form that a search action can contain."""
    return " ".join(text.replace("[", " ").replace("]", " ").split())


def choose_options(product: Product, goal: Goal) -> dict[str, str] | None:
    """Return the fewest option values that meet all of the goal's options, in the goal's order; None if the product lacks them."""
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
    order = [pair[0] for pair in goal.options if not isinstance(pair, str)]
    names = sorted(useful, key=lambda name: order.index(name) if name in order else len(order))
    combinations = itertools.product(*(useful[name] for name in names))
    for chosen in itertools.islice(combinations, _MOST_COMBINATIONS):
        if count_options(chosen, goal.options) == len(wanted):
            return dict(zip(names, chosen, strict=True))
    return None


def _meets(value: str, wanted: list[str]) -> bool:
    color = str(normalize_color(value))
    return any(fuzzy.matches(color, one) for one in wanted)
