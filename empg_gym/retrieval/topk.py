"""The best passages of a query, exact, without scoring more than needed (max-score pruning).

Vocabulary:
    bound        the highest score that a term gives to any passage;
    rest         sum of the bounds of the terms not read yet;
    threshold    the k-th best score so far: a lower bound of the k-th best score of all.

Rules:
    - Passages are scored range by range: a process needs room for the scores of one range, which stay in the processor's cache, and
      the threshold of a range begins where the ranges before it left it.
    - Terms are read in the order of their bounds, highest first: rare terms before common ones.
    - Once `rest` is below the threshold, a passage that no term has named so far can't be among the best; from there on only the
      passages seen are looked up, and those whose score can't reach the threshold any more are dropped.
    - Comparisons are made after rounding to float32, as the final scores are, so that ties at the border are never lost.
    - Equal scores are ordered by `ranks`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from empg_gym.retrieval.similarity import impacts

RANGE = 1 << 17
"""Passages of a range: 1 MB of scores."""

Ints = NDArray[np.signedinteger[Any]]
Scores = NDArray[np.float64]


class Postings(NamedTuple):
    """The passages of one term of a query."""

    passages: NDArray[np.int32]
    """Ordinals, ascending, shape (df,)."""
    codes: NDArray[np.unsignedinteger[Any]]
    """For each passage the row of `saturation`, shape (df,)."""
    saturation: NDArray[np.float32]
    """1 + tf * c for each pair of frequency and length that occurs in the index."""
    weight: np.float32
    bound: float

    def of_range(self, first: int, length: int) -> Postings:
        """The postings of `length` passages from ordinal `first` on, with ordinals counted from there."""
        start, end = np.searchsorted(self.passages, np.asarray((first, first + length), dtype=np.int32))
        return self._replace(passages=self.passages[start:end] - np.int32(first), codes=self.codes[start:end])

    def scores(self, rows: Ints | None = None) -> NDArray[np.float32]:
        """Scores of all passages, or of those at `rows`."""
        codes = self.codes if rows is None else self.codes[rows]
        if len(codes) < len(self.saturation):
            return impacts(self.weight, self.saturation[codes])
        table = impacts(self.weight, self.saturation)
        scores: NDArray[np.float32] = table[codes]
        return scores


def best(terms: list[Postings], k: int, scratch: Scores, ranks: NDArray[np.int32]) -> tuple[Ints, NDArray[np.float32]]:
    """Return ordinals and scores of the `k` best passages, best first.

    Args:
        terms: the distinct terms of the query that the index has.
        k: at least 1.
        scratch: zeros, one for each passage of a range; zeros again afterwards.
        ranks: order of the passages among equals, shape (passages,).
    """
    terms = sorted(terms, key=lambda term: -term.bound)
    rest = np.cumsum([term.bound for term in reversed(terms)], dtype=np.float64)[::-1]
    passages: Ints = np.empty(0, dtype=np.int32)
    scores = np.empty(0, dtype=np.float32)
    for first in range(0, len(ranks), len(scratch)):
        floor = scores[-1] if len(scores) == k else np.float32(0)
        found, totals = _best_of_range(terms, rest, first, k, floor, scratch)
        if len(found):
            passages = np.concatenate([passages, found])
            passages, scores = _ordered(passages, np.concatenate([scores, totals]), k, ranks)
    return passages, scores


def _best_of_range(
    terms: list[Postings], rest: Scores, first: int, k: int, floor: np.float32, scratch: Scores
) -> tuple[Ints, NDArray[np.float32]]:
    """Ordinals and scores of all passages of the range from `first` on that may be among the best, in no order."""
    seen: list[Ints] = []
    count = 0
    unread = len(terms)
    for place, whole in enumerate(terms):
        if np.float32(rest[place]) < floor:
            unread = place
            break
        term = whole.of_range(first, len(scratch))
        if count >= k and len(term.passages) > count:
            seen = [np.concatenate(seen)]
            if np.float32(rest[place]) < np.float32(_kth(scratch[seen[0]], k)):
                unread = place
                break
        before = scratch[term.passages]
        seen.append(term.passages[before == 0.0])
        count += len(seen[-1])
        scratch[term.passages] = before + term.scores()
    passages: Ints = np.concatenate(seen) if seen else np.empty(0, dtype=np.int32)
    totals = scratch[passages]
    scratch[passages] = 0.0
    for place in range(unread, len(terms)):
        bar = max(floor, np.float32(_kth(totals, k))) if len(totals) >= k else floor
        kept = (totals + rest[place]).astype(np.float32) >= bar
        passages, totals = passages[kept], totals[kept]
        if not len(passages):
            break
        totals = totals + _lookup(terms[place].of_range(first, len(scratch)), passages, scratch)
    return passages + np.int32(first), totals.astype(np.float32)


def _lookup(term: Postings, passages: Ints, scratch: Scores) -> Scores:
    """Scores that `term` gives to `passages`, 0 where it does not occur."""
    if len(passages) * 8 > len(term.passages):
        scratch[term.passages] = term.scores()
        found = scratch[passages]
        scratch[term.passages] = 0.0
        return found
    if not len(term.passages):
        return np.zeros(len(passages))
    rows = np.minimum(np.searchsorted(term.passages, passages.astype(np.int32)), len(term.passages) - 1)
    return np.where(term.passages[rows] == passages, term.scores(rows), np.float32(0)).astype(np.float64)


def _kth(scores: Scores, k: int) -> float:
    """The k-th highest of at least k scores; a sample gives a lower bound that leaves few to sort."""
    if len(scores) > 64 * k + 8192:
        scores = scores[scores >= _kth(scores[:: len(scores) // (32 * k + 4096)], k)]
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _ordered(passages: Ints, scores: NDArray[np.float32], k: int, ranks: NDArray[np.int32]) -> tuple[Ints, NDArray[np.float32]]:
    if len(scores) > k:
        kept = scores >= np.float32(_kth(scores.astype(np.float64), k))
        passages, scores = passages[kept], scores[kept]
    order = np.lexsort((ranks[passages], -scores))[:k]
    return passages[order], scores[order]
