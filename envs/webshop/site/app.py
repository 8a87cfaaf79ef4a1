"""The site's addresses, as a Starlette application.

    GET  /{session}             the open page
    GET  /{session}/act         ?action=click[…] carries out an action; so does POST
    POST /{session}/act         words=… searches
    GET  /static/…              style sheet and script

Rules:
    - The session's state stays on the server, under the session's id; addresses contain nothing that needs care in encoding. Only those who
      were given the id reach the session: no page names it.
    - The response to an action is a redirect to the page, so that reloading a page repeats nothing.
    - A rejected action changes nothing, and a notice at the foot of the page says so.
    - Every change increments the page's step, by which a browser recognizes a new page.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qs, quote, unquote, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from empg_gym.envs.webshop.html import html
from empg_gym.envs.webshop.page import Page

_NO_STORE = {"Cache-Control": "no-store"}


class Visitor(Protocol):
    """The interface of a session that the site serves."""

    @property
    def page(self) -> Page:
        """The open page."""
        ...

    @property
    def step(self) -> int:
        """Number of actions so far."""
        ...

    def search(self, words: str) -> bool:
        """Search and return whether the search was carried out."""
        ...

    def act(self, action: str) -> bool:
        """Carry out an action such as "click[buy now]" and return whether it was valid."""
        ...


def make_app(sessions: dict[str, Visitor]) -> Starlette:
    """Return the site for these sessions, keyed by id; sessions may be added and removed while it runs."""

    def visitor(request: Request) -> Visitor | None:
        return sessions.get(_session_id(request))

    def home(request: Request) -> Response:
        return PlainTextResponse("No session here: open the address that the environment printed.\n", 404)

    def show(request: Request) -> Response:
        session = visitor(request)
        if session is None:
            return PlainTextResponse("There is no such session.\n", 404)
        here = page_path(_session_id(request))

        def link(action: str) -> str:
            return f"{here}/act?{urlencode({'action': action})}" if action else here

        notice = "That is not on this page any more." if request.query_params.get("refused") else ""
        return HTMLResponse(html(session.page, link, step=session.step, notice=notice), headers=_NO_STORE)

    async def act(request: Request) -> Response:
        session = visitor(request)
        if session is None:
            return PlainTextResponse("There is no such session.\n", 404)
        words = parse_qs((await request.body()).decode("utf-8", "replace")).get("words")
        done = session.search(words[0]) if words else session.act(request.query_params.get("action", ""))
        here = page_path(_session_id(request))
        return RedirectResponse(here if done else f"{here}?refused=1", 303, headers=_NO_STORE)

    return Starlette(
        routes=[
            Route("/", home),
            Mount("/static", StaticFiles(packages=[("empg_gym.envs.webshop.site", "static")])),
            Route("/{session}", show),
            Route("/{session}/act", act, methods=["GET", "POST"]),
        ]
    )


def page_path(session: str) -> str:
    """Return the path of a session's page, for any session id.

    The id is encoded twice, because servers decode a path once before they split it at slashes.
    """
    return "/" + quote(quote(session, safe=""), safe="")


def _session_id(request: Request) -> str:
    return unquote(request.path_params["session"])
