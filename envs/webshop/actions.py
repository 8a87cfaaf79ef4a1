"""The grammar of actions: `search[words]` and `click[thing]`, read exactly as upstream reads them.

Rules:
    - The name ends at the last "[" and the argument at the last "]"; neither holds a line break; what follows is ignored.
    - Both parts have at least one character. The argument is lower-cased, the name is not.
    - What doesn't fit has no argument and does nothing.

It is upstream's expression `(.+)\\[(.+)\\]`, matched at the start, but in time linear in the length of the text.
"""

from __future__ import annotations

from typing import NamedTuple


class Action(NamedTuple):
    """An action taken apart."""

    name: str
    argument: str | None
    """Lower-cased; None if the text is no action."""


def parse_action(text: str) -> Action:
    """Take an action apart.

    Example: `parse_action("click[Buy Now]")` gives `Action("click", "buy now")`.
    """
    line = text.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 0, max(0, end - 1))
    return Action(text, None) if start < 1 else Action(line[:start], line[start + 1 : end].lower())


def can_be_clicked(thing: str) -> bool:
    """Return whether a click on `thing` can be written and does something; the search button does nothing."""
    return "[" not in thing and "\n" not in thing and thing != "" and thing != "search"
