"""Convert batches of texts to postings, in this process or in several.

Each batch is analysed independently, with its own term numbers; the index builder maps these to the index's term numbers. The result does
not depend on the number of processes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from empg_gym.retrieval.analyzer import analyze

PARALLEL_FROM = 20_000
"""Number of texts from which additional processes are worth their start-up time."""


class Batch(NamedTuple):
    """Postings of consecutive texts, grouped by term.

    Example: the texts "a cat", "cat and dog" give terms ["cat", "dog"], counts [2, 1], passages [0, 1, 1],
    frequencies [1, 1, 1], lengths [1, 2].
    """

    terms: list[str]
    counts: NDArray[np.int32]
    """Number of postings of each term, shape (terms,)."""
    passages: NDArray[np.int32]
    """Number of the text within the batch, ascending within a term, shape (postings,)."""
    frequencies: NDArray[np.int32]
    """Occurrences of the term in the text, shape (postings,)."""
    lengths: NDArray[np.int64]
    """Terms of each text, shape (texts,)."""


class _Numbers(dict[str, int]):
    """Number strings in the order of their first look-up."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


def invert(texts: list[str]) -> Batch:
    """Analyse `texts` and return their postings."""
    numbers = _Numbers()
    occurrences = array("q")
    lengths = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        terms = analyze(text)
        occurrences.extend(map(numbers.__getitem__, terms))
        lengths[row] = len(terms)
    width = max(len(texts), 1)
    keys = np.frombuffer(occurrences, dtype=np.int64) * width + np.repeat(np.arange(len(texts)), lengths)
    keys, frequencies = np.unique(keys, return_counts=True)
    counts = np.bincount(keys // width, minlength=len(numbers))
    return Batch(list(numbers), counts.astype(np.int32), (keys % width).astype(np.int32), frequencies.astype(np.int32), lengths)


def sensible_processes() -> int:
    """Return how many processes to start: one per core, at most eight; 1 if forking is unsafe (other threads run) or unavailable."""
    if "fork" not in multiprocessing.get_all_start_methods() or threading.active_count() > 1:
        return 1
    if multiprocessing.current_process().daemon:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def inverted(batches: Iterable[list[str]], processes: int) -> Iterator[Batch]:
    """Yield the postings of each batch in order, holding only a few batches at a time.

    Args:
        batches: lists of texts.
        processes: number of processes for the analysis; the first `PARALLEL_FROM` texts are always analysed in this process.
    """
    source = iter(batches)
    done = 0
    for texts in source:
        if processes > 1 and done >= PARALLEL_FROM:
            yield from _in_processes(itertools.chain([texts], source), processes)
            return
        done += len(texts)
        yield invert(texts)


def _in_processes(source: Iterator[list[str]], processes: int) -> Iterator[Batch]:
    waiting: deque[Future[Batch]] = deque()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
        for texts in source:
            waiting.append(pool.submit(invert, texts))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
