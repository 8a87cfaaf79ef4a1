"""Colours that options are reduced to before they are compared: the first of the list that occurs in the value.

The list and its order decide rewards ("standard" contains "tan", "tiered" contains "red"), so they are upstream's
(`colors.txt`).
"""

from __future__ import annotations

from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists

COLORS = read_lists(Path(__file__).with_name("colors.txt"))["colors"]


def normalize_color(option: str | tuple[str, str]) -> str | tuple[str, str]:
    """Return the first colour in `option`, else `option`.

    A (name, value) pair, as synthetic goals have them, holds a colour only if its name or value is exactly that colour.
    """
    for color in COLORS:
        if color in option:
            return color
    return option
