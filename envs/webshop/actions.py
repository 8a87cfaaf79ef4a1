"""The grammar of actions: `search[words]` and `click[thing]`, parsed exactly as upstream parses them.

Rules:
    - The name ends at the last "[" and the argument at the last "]"; neither contains a line break; what follows is ignored.
    - Both parts have at least one character. The argument is lower-cased, the name is not.
    - Any other text has no argument and does nothing.

This equals matching upstream's expression `(.+)\\[(.+)\\]` at the start, but in time linear in the length of the text.
"""

from __future__ import annotations

from typing import NamedTuple


class Action(NamedTuple):
    """A parsed action."""

    name: str
    argument: str | None
    """Lower-cased; None if the text is not an action."""


def parse_action(text: str) -> Action:
    """Parse an action.

    Example: `parse_action("click[Buy Now]")` returns `Action("click", "buy now")`.
    """
    line = text.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 0, max(0, end - 1))
    return Action(text, None) if start < 1 else Action(line[:start], line[start + 1 : end].lower())


def can_be_clicked(thing: str) -> bool:
    """Return whether the grammar can express a click on `thing` and it has an effect; the search button has none."""
    return "[" not in thing and "\n" not in thing and thing != "" and thing != "search"
