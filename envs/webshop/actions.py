"""The grammar of actions: `search[words]` and `click[thing]`, read exactly as upstream reads them.

Rules:
    - The name ends at the last "[" and the argument at the last "]"; neither holds a line break; what follows is ignored.
    - Both parts have at least one character. The argument is lower-cased, the name is not.
    - What doesn't fit has no argument and does nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ACTION = re.compile(r"(.+)\[(.+)\]")


class Action(NamedTuple):
    """An action taken apart."""

    name: str
    argument: str | None
    """Lower-cased; None if the text is no action."""


def parse_action(text: str) -> Action:
    """Take an action apart.

    Example: `parse_action("click[Buy Now]")` gives `Action("click", "buy now")`.
    """
    # Without these the search would try every "[" of a long text in vain.
    if "]" not in text or "[" not in text:
        return Action(text, None)
    found = _ACTION.match(text)
    return Action(text, None) if found is None else Action(found.group(1), found.group(2).lower())


def can_be_clicked(value: str) -> bool:
    """Return whether the grammar can express a click on `value`."""
    return bool(value) and "[" not in value and "\n" not in value
