"""Pages as HTML: the observation mode `html`, and the pages of the web site.

Rules:
    - Elements have the ids and classes that upstream's scripts look for (`search_input`, `instruction-text`, `product-image`, `reward`;
      `btn`, `product-link`; radio inputs with labels); the markup and its words are our own.
    - The visible text, node by node, is that of `text.nodes`. Nothing that is hidden from a player is in the source: upstream's
      comments with category and query of each result, and the goal on the done page, are not.
    - What a click does is the caller's affair: `link(action)` gives the address of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import jinja2

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.page import Page, PageKind

TEMPLATES = Path(__file__).with_name("templates")


def plain_link(action: str) -> str:
    """Return the address of an action where there is no server: a query string."""
    return "?action=" + quote(action, safe="")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def html(page: Page, link: Callable[[str], str] = plain_link, template: str | None = None) -> str:
    """Return the source of a page.

    Args:
        page: the page.
        link: gives the address of an action such as "click[next >]".
        template: name of another template to use instead of the page kind's own.
    """
    chosen = _environment().get_template(template or f"{page.kind}.html")
    done = text.done_texts(page) if page.kind is PageKind.DONE else []
    return chosen.render(page=page, link=link, rating=text.RATING, done=done)
