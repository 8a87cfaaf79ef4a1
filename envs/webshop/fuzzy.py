"""The word-set similarity that decides whether two attributes or options have the same meaning.

Equal to `token_set_ratio` of thefuzz 0.19 with Python's difflib (0..100). Later versions, and versions with a C extension, return
other numbers for about a quarter of all pairs, so scores would not be comparable.

Rules:
    - Latin-1 characters above ASCII are dropped, all characters other than word characters become spaces, the rest is lower-cased.
    - Let s be the common words, a and b these followed by the remaining words of either side; the result is the best ratio of the
      three pairs. A phrase whose words all occur in the other therefore has 100.
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
    """Return the set of normalized words of `text`."""
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
    """Return the similarity of two texts, 0..100; 0 if either has no words."""
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
    """Return whether the ratio of two texts exceeds the threshold; two upper bounds decide most cases."""
    # An upper bound of the number of matches: the characters of either text that occur in the other.
    most = min(len(x) - len(set(x) - set(y)), len(y) - len(set(y) - set(x)))
    if round(100 * (2.0 * most / (len(x) + len(y)))) <= THRESHOLD:
        return False
    common = sum((Counter(x) & Counter(y)).values())
    return round(100 * (2.0 * common / (len(x) + len(y)))) > THRESHOLD and _ratio(x, y) > THRESHOLD
