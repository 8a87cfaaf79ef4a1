"""Pages as HTML: the observation mode `html`, and the pages of the web site.

Rules:
    - The text nodes of a page, in document order, are exactly `text.nodes(page)`. Everything else that a person sees (the shop's name,
      pictures, ticks) comes from the style sheet or from attributes, so a parser of the HTML, a browser and the text modes agree.
      Elements are separated by a line break or nothing; the text of an element has no added spaces.
    - Elements have the ids and classes that upstream's scripts expect (`search_input`, `instruction-text`, `product-image`, `reward`;
      `btn`, `product-link`; radio inputs with `data-url` and labels); the markup and its words are our own.
    - The source holds nothing that is hidden from the player: neither upstream's comments with category and query of each result nor the
      goal on the done page.
    - The caller defines what a click does: `link(action)` returns the address of an action.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import jinja2

from empg_gym.envs.webshop import text
from empg_gym.envs.webshop.page import Page, PageKind, SubPage
from empg_gym.envs.webshop.product import Product

TEMPLATES = Path(__file__).with_name("templates")
_HTML_SPACE = " \n\t\f\r"


def plain_link(action: str) -> str:
    """Return the address of an action without a server: a query string. The empty action is the page itself."""
    return "?action=" + quote(action, safe="") if action else "?"


def html(page: Page, link: Callable[[str], str] = plain_link, *, step: int = 0, notice: str = "") -> str:
    """Return the source of a page.

    Args:
        page: the page.
        link: returns the address of an action such as "click[next >]", of the search form ("search") and of the page itself ("").
        step: number of the state, by which a browser recognizes a new page.
        notice: a line for a person, displayed by the style sheet.
    """
    shown = text.nodes(page)
    return (
        _environment()
        .get_template(f"{page.kind}.html")
        .render(
            page=page,
            link=link,
            step=step,
            notice=notice,
            chosen=dict(page.chosen),
            rating=text.RATING,
            paragraphs=[node.text for node in shown[3 + visible(page.instruction) :]] if page.kind is PageKind.SUB else [],
            done=text.done_texts(page) if page.kind is PageKind.DONE else [],
            picture=picture,
            visible=visible,
            SubPage=SubPage,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def visible(words: str) -> bool:
    """Return whether a text becomes a text node: not empty, and not white space with a line break."""
    return bool(words) and (bool(words.strip(_HTML_SPACE)) or "\n" not in words)


def picture(product: Product) -> str:
    """Return the colors of a product's placeholder picture as a style: a function of its asin, so that it looks the same everywhere."""
    digest = hashlib.blake2b(product.asin.encode(), digest_size=2).digest()
    hue = digest[0] / 256
    return f"--a:{_colour(hue, 0.42, 0.93)};--b:{_colour((hue + 0.06 + digest[1] / 2560) % 1, 0.55, 0.78)}"


def _colour(hue: float, saturation: float, value: float) -> str:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return f"#{red:02x}{green:02x}{blue:02x}"
