"""Words of the embedded world: option values, parts of brands, sentences (`options.txt`, `phrases.txt`)."""

from __future__ import annotations

from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists

OPTION_VALUES = read_lists(Path(__file__).with_name("options.txt"), ";")
"""Option family to its values, lower-cased as the shop shows them."""

_LISTS = read_lists(Path(__file__).with_name("phrases.txt"), ";")

BRAND_STARTS = _LISTS["brand starts"]
BRAND_MIDDLES = _LISTS["brand middles"]
BRAND_ENDS = _LISTS["brand ends"]
"""A brand is a start, an optional middle, and an end."""
TITLE_WORDS = _LISTS["title words"]
OPENINGS = _LISTS["openings"]
MIDDLES = _LISTS["middles"]
CLOSINGS = _LISTS["closings"]
"""A description is an opening, a middle and a closing."""
BULLETS = _LISTS["bullets"]
"""Bullets that name an attribute."""
PLAIN_BULLETS = _LISTS["plain bullets"]
