"""Product search: Lucene's BM25 over the product documents, and four special first words.

Rules:
    - Without a special first word, the words are a BM25 query; it returns the best 50, ties ordered by asin.
    - `<a> words` finds the products with that attribute, `<c> word` those in that category, `<q> words` those found by that phrase, in
      catalogue order and without a limit; `<r>` is a random sample of 50 (see `sample`).
    - No query raises an error: one without index terms, and a special word without its argument, find nothing.
"""

from __future__ import annotations

import random
from functools import lru_cache, partial

from empg_gym.envs.webshop.store import ProductStore
from empg_gym.retrieval import BM25Index

RESULTS = 50
"""Maximum number of products that a search returns."""
REMEMBERED = 256
"""Number of searches whose results are cached, because each page of results needs them again."""
_LONG = 1000
"""Maximum length of a cached query, in characters."""


class SearchEngine:
    """Search in one catalogue.

    Args:
        store: the products.
        index: index of their documents, in the same order.
    """

    def __init__(self, store: ProductStore, index: BM25Index) -> None:
        self._store = store
        # Not a method of this object, which would refer to itself and keep its files open until it is collected.
        self._find = partial(_find, store, index)
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._find)

    def search(self, keywords: tuple[str, ...]) -> tuple[int, ...]:
        """Return the ordinals of the products found, best first."""
        return self._remembered(keywords) if sum(map(len, keywords)) <= _LONG else self._find(keywords)

    def sample(self, rng: random.Random) -> tuple[int, ...]:
        """Return the ordinals of a random sample, for `<r>`."""
        return tuple(rng.sample(range(len(self._store)), min(RESULTS, len(self._store))))


def _find(store: ProductStore, index: BM25Index, keywords: tuple[str, ...]) -> tuple[int, ...]:
    if not keywords:
        return ()
    first, rest = keywords[0], " ".join(keywords[1:]).strip()
    if first == "<a>":
        return tuple(store.with_attribute(rest))
    if first == "<c>":
        return tuple(store.with_category(keywords[1].strip() if len(keywords) > 1 else ""))
    if first == "<q>":
        return tuple(store.with_query(rest))
    return tuple(index.ordinals(" ".join(keywords), RESULTS))
