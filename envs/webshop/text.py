"""Pages as text: the observation modes `text`, `text_rich` and `url`, rendered without HTML.

Rules (upstream strips its HTML to text nodes):
    - `text` joins the stripped nodes with " [SEP] "; `text_rich` puts one node on a line, buttons as "[button] X [button_]".
    - An empty text is not a node; white space is a node of one space, unless it contains a line break: then it is dropped.
    - Chosen option values and opened products are "[clicked button]" in `text_rich`; each chosen value also has a line "You have
      clicked X." at the top, in reverse page order.
    - Upstream considers a value chosen if it occurs in double quotes in the page's address. That misses values that JSON escapes and
      matches quoted words of the query; by default the choice itself decides.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from empg_gym.envs.webshop.page import Page, PageKind, SubPage
from empg_gym.envs.webshop.product import Product

SEPARATOR = " [SEP] "
BASE = "http://127.0.0.1:3000"
"""Start of every address in `url` observations, as upstream."""
RATING = "Rating: N.A."
_HTML_SPACE = " \n\t\f\r"


class Role(Enum):
    """The kind of a text node, as far as `text_rich` distinguishes it."""

    TEXT = 0
    BUTTON = 1
    OPTION = 2
    LINK = 3


class Node(NamedTuple):
    """A piece of visible text."""

    text: str
    role: Role = Role.TEXT


def url(page: Page) -> str:
    """Return the address of a page in upstream's format."""
    if page.kind is PageKind.INDEX:
        return f"{BASE}/{page.session}"
    words = "+".join(page.keywords)
    if page.kind is PageKind.RESULTS:
        return f"{BASE}/{page.kind}/{page.session}/{words}/{page.number}"
    start = f"{BASE}/{page.kind}/{page.session}/{page.product.asin}"
    options = dict(page.chosen)
    if page.kind is PageKind.ITEM:
        return f"{start}/{words}/{page.number}/{json.dumps(options)}"
    if page.kind is PageKind.SUB:
        return f"{start}/{words}/{page.number}/{page.sub}/{options}"
    return f"{start}/{options}"


def text(page: Page, shown: list[Node] | None = None) -> str:
    """Return the page in the mode `text`; `shown` are its nodes if they were read elsewhere (in a browser)."""
    if shown is None and page.kind is PageKind.RESULTS:
        parts = [_instruction_text(page.instruction), page.buttons[0], _found_text(page), *page.buttons[1:]]
        return SEPARATOR.join(parts + [_result_text(product) for product in page.products])
    if shown is None and page.kind is PageKind.ITEM:
        return SEPARATOR.join([_instruction_text(page.instruction), *page.buttons[:2], _item_text(page.product), *page.buttons[2:]])
    return SEPARATOR.join([node.text.strip() for node in (nodes(page) if shown is None else shown)])


def text_rich(page: Page, found: list[Node] | None = None, *, upstream: bool = False) -> str:
    """Return the page in the mode `text_rich`.

    Args:
        page: the page.
        found: its nodes if they were read elsewhere (in a browser).
        upstream: detect chosen values as upstream does.
    """
    address = url(page) if upstream else ""
    chosen = {value for _, value in page.chosen}
    lines: list[str] = []
    clicked: list[str] = []
    for shown, role in nodes(page) if found is None else found:
        if role is Role.BUTTON:
            lines.append(f"[button] {shown} [button_]\n")
        elif role is Role.LINK:
            mark = "clicked button" if shown in page.visited else "button"
            lines.append(f"\n[{mark}] {shown} [{mark}_]\n")
        elif role is Role.OPTION:
            if f'"{shown}"' in address if upstream else shown in chosen:
                clicked.append(f"You have clicked {shown}.\n")
                lines.append(f"  [clicked button] {shown} [clicked button_]\n")
            else:
                lines.append(f"  [button] {shown} [button_]\n")
        else:
            lines.append(shown + "\n")
    return "".join(clicked[::-1] + lines)


def nodes(page: Page) -> list[Node]:
    """Return the visible text nodes of a page, in order."""
    if page.kind is PageKind.DONE:
        return [Node(shown) for shown in done_texts(page)]
    found = [Node("WebShop"), Node("Instruction: ")] if page.kind is PageKind.INDEX else [Node("Instruction:")]
    _add(found, page.instruction)
    buttons = [Node(button, Role.BUTTON) for button in page.buttons]
    if page.kind is PageKind.RESULTS:
        found += [buttons[0], Node(_found_text(page)), *buttons[1:]]
        for product in page.products:
            found += _result(product)
    elif page.kind is PageKind.ITEM:
        found += [*buttons[:2], *_item(page.product), *buttons[2:]]
    else:
        found += buttons
        if page.kind is PageKind.SUB:
            _sub(found, page)
    return found


def _found_text(page: Page) -> str:
    return f"Page {page.number} (Total results: {page.total})"


@lru_cache(maxsize=256)
def _instruction_text(instruction: str) -> str:
    found = [Node("Instruction:")]
    _add(found, instruction)
    return SEPARATOR.join([node.text.strip() for node in found])


def _add(found: list[Node], shown: str, role: Role = Role.TEXT) -> None:
    if not shown:
        return
    if not shown.strip(_HTML_SPACE):
        if "\n" in shown:
            return
        shown = " "
    found.append(Node(shown, role))


@lru_cache(maxsize=1024)
def _result(product: Product) -> tuple[Node, ...]:
    found = [Node(product.asin, Role.LINK)]
    _add(found, product.title)
    _add(found, product.price)
    return tuple(found)


@lru_cache(maxsize=1024)
def _result_text(product: Product) -> str:
    return SEPARATOR.join([node.text.strip() for node in _result(product)])


@lru_cache(maxsize=256)
def _item(product: Product) -> tuple[Node, ...]:
    found: list[Node] = []
    for name, values in product.options:
        _add(found, name)
        for value in values:
            _add(found, value, Role.OPTION)
    _add(found, product.title)
    found += [Node(f"Price: {product.price}"), Node(RATING)]
    return tuple(found)


@lru_cache(maxsize=256)
def _item_text(product: Product) -> str:
    return SEPARATOR.join([node.text.strip() for node in _item(product)])


def _sub(found: list[Node], page: Page) -> None:
    product = page.product
    if page.sub is SubPage.DESCRIPTION:
        _add(found, product.description)
    elif page.sub is SubPage.FEATURES:
        for bullet in product.bullets:
            _add(found, f" {bullet}")
    elif page.sub is SubPage.ATTRIBUTES:
        for attribute in product.attributes:
            _add(found, f" {attribute}")
        for entry in (product.category, product.query, product.product_category):
            _add(found, entry)


_TARGET = ("Target", "asin", "options", "attrs", "price upper", "instuction text", "category", "product category", "query", "Goal ")
_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})


def done_texts(page: Page) -> list[str]:
    """Return the text nodes of the done page; the third from the end is the reward."""
    options = json.dumps(dict(page.chosen), sort_keys=True).translate(_HTML_SAFE)
    head = ("Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)", "Purchased")
    bought = ("asin", page.product.asin, "options", options, "attrs", "None", "category", "None", "query", "None", "product category")
    score = ("None", "Reward", "Your score (min 0.0, max 1.0)", str(page.reward), "Reward Details ", "None")
    return [*head, *bought, "None", *_TARGET, *score]
