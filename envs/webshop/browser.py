"""The shop through a real browser: Selenium on the shop's own site.

Rules:
    - The site and the environment share one `ShopSession`: the browser types and clicks, the site changes the session, and the
      observation is read from the browser's document, node by node.
    - As in the text modes, clicks on what the page does not show are ignored, and a search works on every page: if the page has no
      search bar, or a keyboard could not type the words, a script submits the search form with a token that represents them.
    - An agent's text reaches the driver only if a keyboard could type it or if the page shows it: drivers reject lone surrogates, and
      forms change line breaks.
    - A browser or driver that dies is restarted once, on the session's current page, and the action is carried out unless the site
      has already received it; if that fails too, `EnvironmentFailure` is raised.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.actions import parse_action
from empg_gym.envs.webshop.chromium import PAGE_SECONDS, Chromium
from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.page import Page, PageKind
from empg_gym.envs.webshop.session import NOTHING, Feedback, SessionState, ShopSession
from empg_gym.envs.webshop.site.server import SiteServer
from empg_gym.envs.webshop.text import Node, Role
from empg_gym.errors import EnvironmentFailure, require

Result = TypeVar("Result")
TYPED_CHARACTERS = 200
"""Searches longer than this are not typed key by key."""
STALE_RETRIES = 20

_NODES = r"""
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const node = walker.currentNode, parent = node.parentElement;
  if (['STYLE', 'SCRIPT', 'TITLE', 'META'].includes(parent.tagName)) continue;
  let text = node.nodeValue;
  if (/^[ \n\t\f\r]*$/.test(text)) {
    if (text.includes('\n')) continue;
    text = ' ';
  }
  const role = parent.tagName === 'BUTTON' ? 'BUTTON' : parent.tagName === 'LABEL' ? 'OPTION'
    : parent.classList.contains('product-link') ? 'LINK' : 'TEXT';
  found.push([text, role]);
}
return found;
"""
_THING = """
const thing = arguments[0];
const options = [...document.querySelectorAll('input[type=radio]')].filter(input => input.value === thing);
if (options.length) return document.querySelector(`label[for="${options.at(-1).id}"]`) ?? options.at(-1);
return [...document.querySelectorAll('.btn, .product-link')].filter(one => one.textContent.toLowerCase() === thing).at(-1);
"""
_CLICKABLES = """
const things = (selector, read) => [...document.querySelectorAll(selector)].map(read);
const shown = one => one.textContent.toLowerCase();
return [...things('.btn', shown), ...things('.product-link', shown), ...things('input[type=radio]', one => one.value)];
"""
_SUBMIT = """
const form = document.createElement('form');
form.method = 'post';
form.action = arguments[0];
const field = document.createElement('input');
field.name = 'words';
field.value = arguments[1];
form.append(field);
document.body.append(form);
form.submit();
"""


class SiteSession:
    """A `ShopSession` for the site: counts the actions and keeps the feedback of the last one."""

    def __init__(self, session: ShopSession) -> None:
        self.session = session
        self.step = 0
        """Number of actions that were carried out."""
        self.requests = 0
        """Number of actions that were requested."""
        self.feedback = NOTHING
        self._promised: tuple[str, str] | None = None

    def promise(self, words: str) -> str:
        """Return a token that the next search may use in place of `words`, which then need not pass through the browser."""
        token = secrets.token_urlsafe(9)
        self._promised = token, words
        return token

    @property
    def page(self) -> Page:
        """The page that is open."""
        return self.session.page

    @property
    def over(self) -> bool:
        """Whether the session accepts no more actions."""
        return self.session.state.kind is PageKind.DONE and not self.session.upstream

    def search(self, words: str) -> bool:
        """Search for words or for what a token stands for, unless there is nothing to search for or the session is over."""
        if self._promised and words == self._promised[0]:
            words = self._promised[1]
        return self._done(NOTHING if self.over or not words else self.session.search(words.lower()))

    def act(self, action: str) -> bool:
        """Carry out an action."""
        return self._done(self.session.act(action))

    def _done(self, feedback: Feedback) -> bool:
        if feedback.valid:
            self.step += 1
            self.feedback = feedback
        self.requests += 1
        return feedback.valid


class BrowserView:
    """A `ShopView` in Chromium. Site and browser start on first use.

    Args:
        session: the session that the site serves.
        mode: observation mode; "html" is the page source in the browser, "url" is upstream's address of the page.

    Raises:
        MissingDependencyError: Selenium, Chromium or its driver is not installed.
        EnvironmentFailure: the browser died and could not be restarted.
    """

    def __init__(self, session: ShopSession, mode: str) -> None:
        require("selenium", "browser", "the browser backend")
        self._session = session
        self._mode = mode
        self._visit = SiteSession(session)
        self._id = secrets.token_urlsafe(9)
        self._server: SiteServer | None = None
        self._chromium: Chromium | None = None

    @property
    def address(self) -> str:
        """Address of the session's page, for a person to open."""
        if self._server is None:
            self._server = SiteServer()
            self._server.sessions[self._id] = self._visit
        return self._server.page_address(self._id)

    def start(self, goal: Goal, name: str) -> None:
        self._session.start(goal, name)
        self._show()

    def load(self, name: str, state: SessionState) -> None:
        self._session.name = name
        self._session.load(state)
        self._show()

    @property
    def page(self) -> Page:
        return self._session.page

    @property
    def state(self) -> SessionState:
        return self._session.state

    def act(self, action: str) -> Feedback:
        """Carry out an action in the browser; reward and termination are read from the page."""
        name, argument = parse_action(action)
        if argument is None or name not in ("search", "click") or argument == "search":
            return NOTHING
        if name == "search" and self._visit.over:
            return NOTHING
        before = self._visit.step

        def attempt() -> None:
            if self._visit.step == before:
                (self._search if name == "search" else self._click)(argument)

        self._guarded(attempt)
        if self._visit.step == before:
            return NOTHING
        return Feedback(*self._guarded(self._outcome), True)

    def observation(self) -> str:
        if self._mode == "html":
            return str(self._guarded(lambda: self._driver.page_source))
        if self._mode == "url":
            return text.url(self.page)
        shown = [Node(words, Role[role]) for words, role in self._guarded(lambda: self._driver.execute_script(_NODES))]
        if self._mode == "text_rich":
            return text.text_rich(self.page, shown, upstream=self._session.upstream)
        return text.text(self.page, shown)

    def clickables(self) -> list[str]:
        return list(dict.fromkeys(self._guarded(lambda: self._driver.execute_script(_CLICKABLES))))

    def close(self) -> None:
        """Close browser and site; may be called again."""
        if self._chromium is not None:
            self._chromium.close()
            self._chromium = None
        if self._server is not None:
            self._server.close()
            self._server = None

    # The browser

    def _show(self) -> None:
        self._visit.step += 1
        self._guarded(lambda: self._driver.get(self.address))

    @property
    def _driver(self) -> Any:
        if self._chromium is None:
            self._chromium = Chromium()
            self._chromium.driver.get(self.address)
        return self._chromium.driver

    def _guarded(self, call: Callable[[], Result]) -> Result:
        """Run a call to the browser: retry if the document was just replaced, and restart a failed browser once."""
        from selenium.common.exceptions import WebDriverException
        from urllib3.exceptions import HTTPError

        restarted = False
        patience = STALE_RETRIES
        while True:
            try:
                return call()
            except (WebDriverException, HTTPError, OSError) as error:
                if _is_stale(error) and patience:
                    patience -= 1
                    continue
                if restarted:
                    self.close()
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    raise EnvironmentFailure(
                        f"the browser failed again after a restart ({reason}); run `empg-gym doctor` to find the cause"
                    ) from error
                restarted = True
                if self._chromium is not None:
                    self._chromium.close()
                    self._chromium = None

    def _search(self, words: str) -> None:
        driver, before = self._driver, self._visit.requests
        boxes = driver.find_elements("id", "search_input")
        typed = len(words) <= TYPED_CHARACTERS and words.isprintable() and all(ord(letter) < 0x10000 for letter in words)
        if boxes and typed:
            boxes[0].clear()
            boxes[0].send_keys(words)
            boxes[0].submit()
        else:
            driver.execute_script(_SUBMIT, f"{self.address}/act", self._visit.promise(words))
        self._arrive(before)

    def _click(self, thing: str) -> None:
        before = self._visit.requests
        if thing not in self._driver.execute_script(_CLICKABLES):
            return
        element = self._driver.execute_script(_THING, thing)
        self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        try:
            element.click()
        except Exception as error:
            if type(error).__name__ not in ("ElementNotInteractableException", "ElementClickInterceptedException"):
                raise
            self._driver.execute_script("arguments[0].click()", element)
        self._arrive(before)

    def _arrive(self, before: int) -> None:
        """Wait until the site has received the action and the browser shows the resulting page."""
        from selenium.common.exceptions import TimeoutException

        began = time.monotonic()
        while (waited := time.monotonic() - began) < PAGE_SECONDS:
            if self._visit.requests > before:
                shown, ready = self._driver.execute_script("return [document.body?.dataset.step, document.readyState]")
                if ready == "complete" and shown == str(self._visit.step):
                    return
            time.sleep(0.003 if waited < 1 else 0.05)
        raise TimeoutException(f"the page did not load within {PAGE_SECONDS:.0f} s")

    def _outcome(self) -> tuple[float, bool]:
        if self._visit.page.kind is not PageKind.DONE:
            return 0.0, False
        return float(self._driver.execute_script("return document.querySelector('#reward pre').textContent")), self._visit.feedback.done


def _is_stale(error: Exception) -> bool:
    """Return whether the error concerns a document or element that has been replaced."""
    return type(error).__name__ == "StaleElementReferenceException" or "does not belong to the document" in str(error)
