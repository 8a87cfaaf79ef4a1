"""Find the k best passages of a query exactly, without scoring all of them (max-score pruning).

Vocabulary:
    bound        the highest score of a term in any passage;
    rest         the sum of the bounds of the terms not yet read;
    threshold    the k-th best score so far: a lower bound of the final k-th best score.

Rules:
    - Passages are scored range by range, so that only the scores of one range are in memory and they fit into the CPU cache. The threshold
      carries over from range to range.
    - Terms are read by descending bound: rare terms before common ones.
    - Once `rest` is below the threshold, a passage without any of the terms read so far can't be among the best. From then on only the
      passages seen are looked up, and those that can't reach the threshold are dropped.
    - Scores are compared after rounding to float32, like the final scores, so that ties at the threshold are never lost.
    - Equal scores are ordered by `ranks`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from empg_gym.retrieval.similarity import impacts

RANGE = 1 << 17
"""Number of passages per range: 1 MB of scores."""

Ints = NDArray[np.signedinteger[Any]]
Scores = NDArray[np.float64]


class Postings(NamedTuple):
    """The passages of one term of a query."""

    passages: NDArray[np.int32]
    """Ordinals, ascending, shape (df,)."""
    codes: NDArray[np.unsignedinteger[Any]]
    """Index into `saturation` for each passage, shape (df,)."""
    saturation: NDArray[np.float32]
    """1 + tf * c for each pair of frequency and length in the index, shape (C,)."""
    weight: np.float32
    bound: float

    def of_range(self, first: int, length: int) -> Postings:
        """Return the postings of the `length` passages from ordinal `first`, with ordinals relative to it."""
        start, end = np.searchsorted(self.passages, np.asarray((first, first + length), dtype=np.int32))
        return self._replace(passages=self.passages[start:end] - np.int32(first), codes=self.codes[start:end])

    def scores(self, rows: Ints | None = None) -> NDArray[np.float32]:
        """Return the scores of all passages, or of those at the positions `rows`."""
        codes = self.codes if rows is None else self.codes[rows]
        if len(codes) < len(self.saturation):
            return impacts(self.weight, self.saturation[codes])
        table = impacts(self.weight, self.saturation)
        scores: NDArray[np.float32] = table[codes]
        return scores


def best(terms: list[Postings], k: int, scratch: Scores, ranks: NDArray[np.int32]) -> tuple[Ints, NDArray[np.float32]]:
    """Return the ordinals and scores of the `k` best passages, best first.

    Args:
        terms: the distinct query terms that occur in the index.
        k: at least 1.
        scratch: zeros, one per passage of a range; zeros again on return.
        ranks: order of passages with equal scores, shape (passages,).
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
    """Return the ordinals and scores of all candidates in the range from `first`, unordered."""
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
    """Return the scores of `term` in `passages`, 0 where it does not occur."""
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
    """Return the k-th highest of at least k scores; a sample gives a lower bound, so that few remain to be sorted."""
    if len(scores) > 64 * k + 8192:
        scores = scores[scores >= _kth(scores[:: len(scores) // (32 * k + 4096)], k)]
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _ordered(passages: Ints, scores: NDArray[np.float32], k: int, ranks: NDArray[np.int32]) -> tuple[Ints, NDArray[np.float32]]:
    if len(scores) > k:
        kept = scores >= np.float32(_kth(scores.astype(np.float64), k))
        passages, scores = passages[kept], scores[kept]
    order = np.lexsort((ranks[passages], -scores))[:k]
    return passages[order], scores[order]
