"""The site's addresses, as a Starlette application.

    GET  /                      the only session's page, if there is just one
    GET  /{session}             the page that is open
    GET  /{session}/act         ?action=click[…] carries an action out; POST does too
    POST /{session}/act         words=… searches
    GET  /static/…              style and script

Rules:
    - What a session remembers stays on the server, under the session's id; addresses hold nothing that could break in them.
    - An action answers with a redirect to the page, so that loading a page again repeats nothing.
    - An action that the session refuses changes nothing and says so at the foot of the page.
    - Every change counts up the page's step, which is how a browser tells a new page from the old one.
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
    """A session as the site needs it."""

    @property
    def page(self) -> Page:
        """The page that is open."""
        ...

    @property
    def step(self) -> int:
        """Number of actions so far."""
        ...

    def search(self, words: str) -> bool:
        """Search; returns whether it was carried out."""
        ...

    def act(self, action: str) -> bool:
        """Carry out an action such as "click[buy now]"; returns whether it was carried out."""
        ...


def make_app(sessions: dict[str, Visitor]) -> Starlette:
    """Return the site for these sessions, by id; sessions may be added and removed while it runs."""

    def visitor(request: Request) -> Visitor | None:
        return sessions.get(_session_id(request))

    def home(request: Request) -> Response:
        if len(sessions) == 1:
            return RedirectResponse(page_path(next(iter(sessions))), 303)
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

    Encoded twice: servers decode a path once before they look for its slashes.
    """
    return "/" + quote(quote(session, safe=""), safe="")


def _session_id(request: Request) -> str:
    return unquote(request.path_params["session"])
