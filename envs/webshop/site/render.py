"""Pages as HTML.

Rules:
    - The text nodes of a page, read in document order, are exactly `empg_gym.envs.webshop.text.nodes(page)`; whatever else a person sees
      (name of the shop, pictures, labels) is drawn by the style sheet or stands in attributes. So a reader of the HTML, a browser and the
      text modes say the same.
    - Between two elements there is a line break or nothing; a text stands alone in its element, without added spaces.
    - Elements carry upstream's ids and classes (`search_input`, `instruction-text`, `product-image`, `reward`; `btn`, `product-link`,
      radio inputs with name, value and `data-url`), so that parsers written for upstream go on working.
    - Nothing on a page tells the goal's product; upstream's comments with category and query are left out.
"""

from __future__ import annotations

import colorsys
import hashlib
from functools import cache
from urllib.parse import quote, urlencode

import jinja2

from empg_gym.envs.webshop.page import Page, PageKind, SubPage
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.text import nodes

TEMPLATES = {
    PageKind.INDEX: "index.html.jinja",
    PageKind.RESULTS: "results.html.jinja",
    PageKind.ITEM: "item.html.jinja",
    PageKind.SUB: "sub.html.jinja",
    PageKind.DONE: "done.html.jinja",
}
_HTML_SPACE = " \n\t\f\r"


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("empg_gym.envs.webshop.site"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render(page: Page, *, step: int = 0, notice: str = "") -> str:
    """Return a page as an HTML document.

    Args:
        page: what to show.
        step: number of the state, put into the page so that a browser knows when a new one has come.
        notice: a line for a person (drawn by the style sheet), such as that a button no longer exists.
    """
    template = _templates().get_template(TEMPLATES[page.kind])
    chosen = dict(page.chosen)
    return template.render(
        page=page,
        step=step,
        notice=notice,
        action=lambda thing: f"{path(page.session)}/click?{urlencode({'thing': thing})}",
        here=path(page.session),
        chosen=chosen,
        picture=picture,
        paragraphs=[node.text for node in nodes(page)][3 + visible(page.instruction) :] if page.kind is PageKind.SUB else [],
        ending=[node.text for node in nodes(page)] if page.kind is PageKind.DONE else [],
        visible=visible,
        SubPage=SubPage,
    )


def path(session: str) -> str:
    """Return the address of a session, any session id safely encoded."""
    return "/" + quote(session, safe="")


def visible(text: str) -> bool:
    """Return whether a text makes a text node: not empty, and not only spaces with a line break among them."""
    return bool(text) and (bool(text.strip(_HTML_SPACE)) or "\n" not in text)


def picture(product: Product) -> str:
    """Return the colours of a product's placeholder picture, as a style: a function of its asin, so that it looks the same everywhere."""
    digest = hashlib.blake2b(product.asin.encode(), digest_size=2).digest()
    hue = digest[0] / 256
    first = _colour(hue, 0.42, 0.93)
    second = _colour((hue + 0.06 + digest[1] / 2560) % 1, 0.55, 0.78)
    return f"--a:{first};--b:{second}"


def _colour(hue: float, saturation: float, value: float) -> str:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return f"#{red:02x}{green:02x}{blue:02x}"
