"""Colors to which options are reduced before they are compared: the first color in the list that occurs in the value.

The list and its order affect rewards ("standard" contains "tan", "tiered" contains "red"), so both are upstream's (`colors.txt`).
"""

from __future__ import annotations

from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists

COLORS = read_lists(Path(__file__).with_name("colors.txt"))["colors"]


def normalize_color(option: str | tuple[str, str]) -> str | tuple[str, str]:
    """Return the first color in `option`, else `option`.

    A (name, value) pair, as in synthetic goals, contains a color only if its name or value equals that color.
    """
    for color in COLORS:
        if color in option:
            return color
    return option
