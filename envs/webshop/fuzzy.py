"""The word-set similarity that decides whether two attributes or options mean the same.

Equal to `token_set_ratio` of thefuzz 0.19 over Python's difflib (0..100). Later versions, and versions with a C extension, give
other numbers for about a quarter of all pairs, so scores could not be compared.

Rules:
    - Latin-1 characters above ASCII are dropped, everything that is no word character becomes a space, the rest is lower-cased.
    - Of the words in common (s), and the rest of either side appended to them (a, b), the best of the three pairings counts;
      so a phrase whose words are all in the other has 100.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from functools import lru_cache

THRESHOLD = 85
"""A ratio above this is a match."""
_NO_LATIN_1 = dict.fromkeys(range(128, 256))
_NOT_A_WORD = re.compile(r"(?ui)\W")


@lru_cache(maxsize=4096)
def words(text: str) -> frozenset[str]:
    """Return the set of normalised words of `text`."""
    return frozenset(_NOT_A_WORD.sub(" ", text.translate(_NO_LATIN_1)).lower().split())


def _ratio(first: str, second: str) -> int:
    if first == second:
        return 100
    if not first or not second:
        return 0
    return round(100 * SequenceMatcher(None, first, second).ratio())


def _pairings(first: frozenset[str], second: frozenset[str]) -> tuple[tuple[str, str], ...]:
    common = " ".join(sorted(first & second))
    a = (common + " " + " ".join(sorted(first - second))).strip()
    b = (common + " " + " ".join(sorted(second - first))).strip()
    return (common, a), (common, b), (a, b)


def token_set_ratio(first: str, second: str) -> int:
    """Return the similarity of two texts, 0..100; 0 if either has no word."""
    one, two = words(first), words(second)
    if not one or not two:
        return 0
    return max(_ratio(x, y) for x, y in _pairings(one, two))


@lru_cache(maxsize=8192)
def matches(first: str, second: str) -> bool:
    """Return whether `token_set_ratio` exceeds the threshold, mostly without computing it."""
    one, two = words(first), words(second)
    if not one or not two:
        return False
    if one <= two or two <= one:
        return True
    return any(_exceeds(x, y) for x, y in _pairings(one, two))


def _exceeds(x: str, y: str) -> bool:
    """Return whether the ratio of two texts exceeds the threshold; two upper bounds of it decide most cases."""
    # At most this many characters of either can be matched: those that the other has at all.
    most = min(len(x) - len(set(x) - set(y)), len(y) - len(set(y) - set(x)))
    if round(100 * (2.0 * most / (len(x) + len(y)))) <= THRESHOLD:
        return False
    common = sum((Counter(x) & Counter(y)).values())
    return round(100 * (2.0 * common / (len(x) + len(y)))) > THRESHOLD and _ratio(x, y) > THRESHOLD
