"""The rules of the shop for an agent's prompt, and its tools."""

from __future__ import annotations

from typing import Any

RULES = """\
You are shopping in an online shop. An instruction says what to buy: the kind of product, properties it must have, options such as \
colour or size, and often a highest price. Find a product that fits, choose the options that were asked for, and buy it.

Two actions exist:
search[words] looks for products by words; use it where the page has a search bar.
click[thing] clicks on something that the page shows, named by its text: a button such as "next >", "< prev", "back to search", \
"description", "features", "reviews" or "buy now", a product by its code such as "b0abc12345", or an option value such as "red".

Searching shows up to ten products a page, with code, title and price. Clicking on a code opens the product. Each option is chosen by \
a click on its value; a second click in the same option replaces the choice. "buy now" buys the open product with the chosen options \
and ends the task. The reward from 0 to 1 is the share of what was asked for that the purchase meets."""


def _tool(name: str, description: str, argument: str, meaning: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {argument: {"type": "string", "description": meaning}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS: list[dict[str, Any]] = [
    _tool("search", "Look for products.", "words", "what to search for"),
    _tool("click", "Click on something that the page shows.", "thing", "its text: a button, a product code or an option value"),
]
"""The actions as an OpenAI tool list."""
