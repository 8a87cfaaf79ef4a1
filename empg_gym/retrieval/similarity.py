"""Lucene's BM25Similarity with its exact arithmetic (version 8 and later; float32, lengths in one byte).

    score(term, passage) = w - w / (1 + tf * c)          w = boost * idf,  boost = occurrences of the term in the query
    idf                  = ln(1 + (N - df + 0.5) / (df + 0.5))
    c                    = 1 / (k1 * ((1 - b) + b * length / average length))

Rules:
    - N counts the passages with at least one term; the average length is exact; lengths are quantised as by SmallFloat.intToByte4: exact
      up to 40, above that four significant bits of (length - 24).
    - All operations are float32; the terms of a query are summed in float64 and the sum is rounded to float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def _decode(code: int) -> int:
    if code < 24:
        return code
    bits, shift = (code - 24) & 7, ((code - 24) >> 3) - 1
    return 24 + (bits if shift < 0 else (bits | 8) << shift)


LENGTHS: NDArray[np.int64] = np.array([_decode(code) for code in range(256)], dtype=np.int64)
"""Length represented by each byte, ascending."""


def length_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the byte for each length: the largest byte whose length does not exceed it."""
    return (np.searchsorted(LENGTHS, lengths, side="right") - 1).astype(np.uint8)


def inverse_norms(k1: float, b: float, average: float) -> NDArray[np.float32]:
    """Return c for each length byte, shape (256,)."""
    one = np.float32(1)
    k, b32, mean = np.float32(k1), np.float32(b), np.float32(average)
    return one / (k * ((one - b32) + b32 * LENGTHS.astype(np.float32) / mean))


def weight(boost: int, passages: int, frequency: int) -> np.float32:
    """Return w of a term that occurs in `frequency` of `passages` passages and `boost` times in the query."""
    idf = np.float32(math.log(1 + (passages - frequency + 0.5) / (frequency + 0.5)))
    return np.float32(boost) * idf


def impacts(w: np.float32, saturation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of a term; `saturation` is 1 + tf * c."""
    return w - w / saturation
