"""One shopping session: the open page, the choices so far, and the effects of actions. No text, no HTML.

Rules (upstream's `SimServer.receive` and `WebAgentTextEnv.step`):
    - A search works on every page, not only on the one with the search bar; it resets the chosen options.
    - A click works only on what the page shows; clicks are dispatched by text, so an option value that reads like a button acts as
      that button.
    - "< Prev" leads from a sub page to its item, from an item to the results it came from, and from results one page back.
    - "Back to Search" resets everything: keywords, options, counters, opened products.
    - An action that can't be carried out changes nothing.

Two behaviors, which differ only in this:
    - Default: nothing happens after the purchase; a random sample (`<r>`) stays the same from page to page; the kind of page is known.
    - Upstream: the session continues after the purchase; every page of `<r>` is a new sample; the kind of page is guessed from its
      address, which fails if the keywords contain a page's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from empg_gym.envs.webshop.actions import parse_action
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.page import PAGE_SIZE, SUB_PAGES, Page, PageKind, SubPage
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import Reward
from empg_gym.envs.webshop.shop import Shop


class Feedback(NamedTuple):
    """The result of an action."""

    reward: float
    done: bool
    """The action was a purchase."""
    valid: bool
    """The action was carried out."""


NOTHING = Feedback(0.0, False, False)


@dataclass(frozen=True, slots=True)
class SessionState:
    """The whole state of a session; immutable and picklable."""

    kind: PageKind = PageKind.INDEX
    keywords: tuple[str, ...] | None = None
    page: int | None = None
    asin: str | None = None
    asins: frozenset[str] = frozenset()
    options: tuple[tuple[str, str], ...] = ()
    """(option name, value) in the order in which the options were first chosen."""
    actions: tuple[tuple[str, int], ...] = ()
    """Number of actions of each kind since the index page."""
    sub: SubPage | None = None
    results: tuple[int, ...] | None = None
    """Ordinals of a random sample; other searches are run again when needed."""
    outcome: Reward | None = None
    """The latest purchase."""

    def counted(self, action: str) -> tuple[tuple[str, int], ...]:
        """Return `actions` with one more of `action`."""
        counts = dict(self.actions)
        counts[action] = counts.get(action, 0) + 1
        return tuple(counts.items())

    def summary(self) -> dict[str, Any]:
        """Return the fields that upstream keeps, for logs and comparisons."""
        return {
            "keywords": None if self.keywords is None else list(self.keywords),
            "page": self.page,
            "asin": self.asin,
            "asins": sorted(self.asins),
            "options": dict(self.options),
            "actions": dict(self.actions),
        }


@dataclass(slots=True)
class ShopSession:
    """A session in a shop.

    Args:
        shop: catalogue, search engine and judge; shared.
        rng: returns the generator that draws the samples of `<r>`.
        upstream: whether to behave as upstream; see the module docstring.
        show_attributes: whether items have a page of their attributes.
    """

    shop: Shop
    rng: Callable[[], random.Random]
    upstream: bool = False
    show_attributes: bool = False
    goal: Goal = field(init=False)
    name: str = field(init=False, default="")
    state: SessionState = field(init=False, default_factory=SessionState)
    _page: Page | None = field(init=False, default=None)

    def start(self, goal: Goal, name: str) -> None:
        """Open the index page for a goal, under the session id `name`."""
        self.goal = goal
        self.name = name
        self.load(SessionState())

    def load(self, state: SessionState) -> None:
        """Restore an earlier value of `state`, with the same goal."""
        self.state = state
        self._page = None

    @property
    def page(self) -> Page:
        """The open page."""
        if self._page is None:
            self._page = self._show()
        return self._page

    def results(self) -> tuple[int, ...]:
        """Return the ordinals of all results of the current search."""
        if self.state.results is not None:
            return self.state.results
        return self.shop.engine.search(self.state.keywords or ())

    def act(self, action: str) -> Feedback:
        """Carry out an action; any text is accepted."""
        name, argument = parse_action(action)
        if argument is None or (self.state.kind is PageKind.DONE and not self.upstream):
            return NOTHING
        if name == "search":
            return self.search(argument)
        return self.click(argument) if name == "click" else NOTHING

    def search(self, text: str) -> Feedback:
        """Search for `text`, lower-cased; words are separated by single spaces."""
        return self._open_results(tuple(text.split(" ")), 1)

    def click(self, thing: str) -> Feedback:
        """Click on the element with the lower-cased text `thing`."""
        if thing == "search" or not self._shows(thing):
            return NOTHING
        state = self.state
        where = self._where()
        if thing == "buy now":
            return self._buy()
        if thing == "back to search":
            return self._go(SessionState(outcome=state.outcome))
        if where is PageKind.RESULTS and thing in ("next >", "< prev"):
            return self._open_results(state.keywords or (), (state.page or 0) + (1 if thing == "next >" else -1), state.results)
        if thing == "< prev":
            if where is PageKind.SUB:
                return self._go(replace(state, kind=PageKind.ITEM, sub=None))
            return self._open_results(state.keywords or (), state.page or 0, state.results)
        if thing in SUB_PAGES and state.kind is not PageKind.RESULTS:
            sub = SUB_PAGES[thing]
            return self._go(replace(state, kind=PageKind.SUB, sub=sub, actions=state.counted(sub.value)))
        return self._open_item(thing)

    def _shows(self, thing: str) -> bool:
        page = self.page
        if page.kind is PageKind.ITEM and thing in page.product.choices:
            return True
        return thing in page.clickables

    def _where(self) -> PageKind:
        """Return the kind of the open page; with `upstream`, as guessed from its address."""
        kind = self.state.kind
        if self.upstream and kind in (PageKind.ITEM, PageKind.SUB):
            words = "+".join(self.state.keywords or ())
            for name in (PageKind.RESULTS, PageKind.ITEM):
                if name in words:
                    return name
        return kind

    def _go(self, state: SessionState) -> Feedback:
        self.load(state)
        return Feedback(0.0, False, True)

    def _open_results(self, keywords: tuple[str, ...], page: int, sample: tuple[int, ...] | None = None) -> Feedback:
        if keywords and keywords[0] == "<r>":
            if sample is None or self.upstream:
                sample = self.shop.engine.sample(self.rng())
        else:
            sample = None
        state = self.state
        return self._go(
            SessionState(
                kind=PageKind.RESULTS,
                keywords=keywords,
                page=page,
                asins=state.asins,
                actions=state.counted("search"),
                results=sample,
                outcome=state.outcome,
            )
        )

    def _open_item(self, thing: str) -> Feedback:
        state = self.state
        if state.kind is PageKind.RESULTS:
            asin = next(product.asin for product in self.page.products if product.asin.lower() == thing)
            return self._go(replace(state, kind=PageKind.ITEM, asin=asin, asins=state.asins | {asin}, actions=state.counted("asin")))
        options = dict(state.options)
        options[self.page.product.choices[thing]] = thing
        return self._go(replace(state, options=tuple(options.items()), actions=state.counted("options")))

    def _buy(self) -> Feedback:
        state = self.state
        outcome = self.shop.judge(self.goal, self.page.product, [value for _, value in state.options])
        self.load(replace(state, kind=PageKind.DONE, sub=None, actions=state.counted("purchase"), outcome=outcome))
        return Feedback(outcome.total, True, True)

    def _show(self) -> Page:
        state = self.state
        number = state.page or 0
        total = 0
        products: tuple[Product, ...] = ()
        if state.kind is PageKind.RESULTS:
            results = self.results()
            total = len(results)
            products = tuple([self.shop.store[ordinal] for ordinal in results[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]])
        elif state.asin is not None:
            ordinal = self.shop.store.ordinal(state.asin)
            products = () if ordinal is None else (self.shop.store[ordinal],)
        return Page(
            kind=state.kind,
            session=self.name,
            instruction=self.goal.instruction,
            keywords=state.keywords or (),
            number=number,
            total=total,
            products=products,
            visited=state.asins,
            chosen=state.options,
            sub=state.sub,
            show_attributes=self.show_attributes,
            reward=None if state.outcome is None else state.outcome.total,
        )
