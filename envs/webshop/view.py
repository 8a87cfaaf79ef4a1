"""How an environment sees a shopping session: the small interface that a backend implements, and the one that needs no browser.

A backend carries out actions and shows the page in one observation mode; session, goal and judge stay the same objects in all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.actions import can_be_clicked
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.page import Page
from empg_gym.envs.webshop.session import Feedback, SessionState, ShopSession

QUERY = "search[<query>]"
"""Template of the search action."""


class ShopView(Protocol):
    """What `WebShopEnv` asks of a backend."""

    def start(self, goal: Goal, name: str) -> None:
        """Begin `goal` under the session id `name` and show its index page."""

    def act(self, action: str) -> Feedback:
        """Carry out an action; any text is answered."""

    def observation(self) -> str:
        """Return what the page shows, in the backend's observation mode."""

    def clickables(self) -> list[str]:
        """Return the lower-cased things that can be clicked, in upstream's order."""

    @property
    def page(self) -> Page:
        """The page that is open."""

    @property
    def state(self) -> SessionState:
        """All that the session remembers."""

    def load(self, name: str, state: SessionState) -> None:
        """Go to a state that a session of the same goal had."""

    def close(self) -> None:
        """Free what the backend holds; may be called twice."""


def renderer(mode: str, upstream: bool) -> Callable[[Page], str]:
    """Return the function that shows a page in an observation mode.

    Args:
        mode: "text", "text_rich", "url" or "html".
        upstream: show chosen options as upstream does.
    """
    if mode == "text_rich":
        return lambda page: text.text_rich(page, upstream=upstream)
    if mode == "html":
        return _html
    return {"text": text.text, "url": text.url}[mode]


def _html(page: Page) -> str:
    from empg_gym.envs.webshop.html import html  # Jinja is loaded only where HTML is asked for

    return html(page)


def admissible(page: Page, clickables: list[str]) -> list[str]:
    """Return the admissible actions of a page, in upstream's order."""
    clicks = [f"click[{thing}]" for thing in clickables if can_be_clicked(thing)]
    return [QUERY, *clicks] if page.has_search_bar else clicks


class DirectView:
    """A session without a browser: pages are rendered straight from it.

    Args:
        session: the session.
        mode: observation mode.
    """

    def __init__(self, session: ShopSession, mode: str) -> None:
        self._session = session
        self._render = renderer(mode, session.upstream)

    def start(self, goal: Goal, name: str) -> None:
        self._session.start(goal, name)

    def act(self, action: str) -> Feedback:
        return self._session.act(action)

    def observation(self) -> str:
        return self._render(self._session.page)

    def clickables(self) -> list[str]:
        return self._session.page.clickables

    @property
    def page(self) -> Page:
        return self._session.page

    @property
    def state(self) -> SessionState:
        return self._session.state

    def load(self, name: str, state: SessionState) -> None:
        self._session.name = name
        self._session.load(state)

    def close(self) -> None:
        pass
