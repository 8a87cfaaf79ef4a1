"""The site's addresses, as a Starlette application.

    GET /                       the only session's page, if there is just one
    GET /{session}              the page that is open
    POST /{session}/search      words=… searches (GET too, for short ones)
    GET /{session}/click        ?thing=… clicks on what has this lower-cased text
    GET /static/…               style and script

Rules:
    - What a session remembers stays on the server, under the session's id; addresses hold nothing that could break in them.
    - An action answers with a redirect to the page, so that loading a page again repeats nothing.
    - An action that the session refuses changes nothing and says so at the foot of the page.
    - Every change counts up the page's step, which is how a browser tells a new page from the old one.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from empg_gym.envs.webshop.page import Page
from empg_gym.envs.webshop.site.render import path, render

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

    def click(self, thing: str) -> bool:
        """Click; returns whether it was carried out."""
        ...


def make_app(sessions: dict[str, Visitor]) -> Starlette:
    """Return the site for these sessions, by id; sessions may be added and removed while it runs."""

    def visitor(request: Request) -> Visitor | None:
        return sessions.get(request.path_params["session"])

    def home(request: Request) -> Response:
        if len(sessions) == 1:
            return RedirectResponse(path(next(iter(sessions))), 303)
        return PlainTextResponse("No session here: open the address that the environment printed.\n", 404)

    def show(request: Request) -> Response:
        session = visitor(request)
        if session is None:
            return PlainTextResponse("There is no such session.\n", 404)
        notice = "That is not on this page any more." if request.query_params.get("refused") else ""
        return HTMLResponse(render(session.page, step=session.step, notice=notice), headers=_NO_STORE)

    async def search(request: Request) -> Response:
        session = visitor(request)
        fields = parse_qs((await request.body()).decode("utf-8", "replace")) if request.method == "POST" else None
        words = request.query_params.get("words", "") if fields is None else fields.get("words", [""])[0]
        return _back(request, session is not None and session.search(words))

    def click(request: Request) -> Response:
        session = visitor(request)
        done = session is not None and session.click(request.query_params.get("thing", ""))
        return _back(request, done)

    return Starlette(
        routes=[
            Route("/", home),
            Mount("/static", StaticFiles(packages=[("empg_gym.envs.webshop.site", "static")])),
            Route("/{session}", show),
            Route("/{session}/search", search, methods=["GET", "POST"]),
            Route("/{session}/click", click),
        ]
    )


def _back(request: Request, done: bool) -> Response:
    address = "/" + quote(request.path_params["session"], safe="")
    return RedirectResponse(address if done else f"{address}?refused=1", 303, headers=_NO_STORE)
