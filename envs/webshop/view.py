"""The environment's view of a shopping session: the interface of a backend, and the backend that needs no browser.

A backend carries out actions and renders the page in one observation mode; session, goal and judge are the same in all backends.
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
    """A backend of `WebShopEnv`."""

    def start(self, goal: Goal, name: str) -> None:
        """Start `goal` under the session id `name` and show its index page."""

    def act(self, action: str) -> Feedback:
        """Carry out an action; any text is accepted."""

    def observation(self) -> str:
        """Return the page in the backend's observation mode."""

    def clickables(self) -> list[str]:
        """Return the lower-cased texts that can be clicked, in upstream's order."""

    @property
    def page(self) -> Page:
        """The open page."""

    @property
    def state(self) -> SessionState:
        """The session's state."""

    def load(self, name: str, state: SessionState) -> None:
        """Restore a state from a session with the same goal."""

    def close(self) -> None:
        """Release the backend's resources; may be called twice."""


def renderer(mode: str, upstream: bool) -> Callable[[Page], str]:
    """Return the function that renders a page in an observation mode.

    Args:
        mode: "text", "text_rich", "url" or "html".
        upstream: mark chosen options as upstream does.
    """
    if mode == "text_rich":
        return lambda page: text.text_rich(page, upstream=upstream)
    if mode == "html":
        return _html
    return {"text": text.text, "url": text.url}[mode]


def _html(page: Page) -> str:
    from empg_gym.envs.webshop.html import html  # Jinja is imported only for HTML

    return html(page)


def admissible(page: Page, clickables: list[str]) -> list[str]:
    """Return the admissible actions of a page, in upstream's order."""
    clicks = [f"click[{thing}]" for thing in clickables if can_be_clicked(thing)]
    return [QUERY, *clicks] if page.has_search_bar else clicks


class DirectView:
    """A session without a browser: pages are rendered directly.

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
