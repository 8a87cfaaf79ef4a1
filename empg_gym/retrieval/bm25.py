"""A BM25 index with Lucene's scores and order, in memory-mapped files shared by all processes.

Rules:
    - Text is analysed by `analyzer` and scored by `similarity` (float32, quantised lengths); ties are ordered by id as a string, ascending.
    - A repeated query term is weighted by its number of occurrences; unknown terms are ignored.
    - An index is immutable; it is built completely (`build`) or not at all, and any number of processes may open it.

Source: Lucene 8/9 as configured by Anserini and pyserini (k1 0.9, b 0.4).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.retrieval import analyzer
from empg_gym.retrieval.build import FORMAT, write_index
from empg_gym.retrieval.damaged import damaged
from empg_gym.retrieval.folders import build_once
from empg_gym.retrieval.invert import sensible_processes
from empg_gym.retrieval.similarity import impacts, weight
from empg_gym.retrieval.strings import StringTable, load_array
from empg_gym.retrieval.topk import RANGE, Postings, best


class Hit(NamedTuple):
    """A passage that matches a query."""

    ordinal: int
    """Position of the passage among the indexed documents, from 0."""
    id: str
    score: float


class BM25Index:
    """An opened index, created by `build` or `open`. Thread-safe and cheap to pickle (unpickling opens it again).

    Args:
        folder: a folder written by `build`.

    Raises:
        DataError: the folder is not an index, is damaged, or has another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        meta = _read_meta(self.folder)
        self.fingerprint: str = meta["fingerprint"]
        """Short hash of documents, k1, b and analyzer; equal fingerprints imply equal results."""
        self._filled: int = meta["filled"]
        self._terms = StringTable(self.folder, "terms", ordered=True)
        self._number = lru_cache(maxsize=1 << 14)(self._terms.find)
        """Number of a term, or -1; cached for recent terms, since a search in the vocabulary takes 20 µs."""
        self._ids = StringTable(self.folder, "ids")
        self._starts = cast("NDArray[np.int64]", load_array(self.folder, "starts"))
        self._passages = cast("NDArray[np.int32]", load_array(self.folder, "passages"))
        self._codes = cast("NDArray[np.unsignedinteger[Any]]", load_array(self.folder, "codes"))
        self._saturation = cast("NDArray[np.float32]", load_array(self.folder, "saturation"))
        self._peaks = cast("NDArray[np.float32]", load_array(self.folder, "peaks"))
        self._ranks = cast("NDArray[np.int32]", load_array(self.folder, "ranks"))
        self._scratch: list[NDArray[np.float64]] = []

    @classmethod
    def build(
        cls,
        documents: Iterable[tuple[str, str]],
        folder: Path,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        processes: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> BM25Index:
        """Index `documents` into `folder` and open it.

        Args:
            documents: pairs of id and text, read once and in order; ids are unique.
            folder: must not exist. If another process creates it while this one waits for the lock, that index is opened.
            k1: saturation of the term frequency, above 0.
            b: weight of the length normalisation, 0 to 1.
            processes: number of processes for the analysis; None = chosen automatically. It doesn't affect the result.
            progress: called from time to time with the number of documents analysed.

        Raises:
            OutputExistsError: `folder` exists.
            ConfigError: k1 or b out of range.
            DataError: two documents have the same id, or the folder is not writable.
        """
        folder = Path(folder)
        if not (k1 > 0 and 0 <= b <= 1):
            raise ConfigError(f"k1 must be above 0 and b between 0 and 1, not k1={k1}, b={b}")
        if folder.exists():
            raise OutputExistsError(f"{folder} exists; open it with BM25Index.open, or remove it to build it again")
        workers = sensible_processes() if processes is None else processes

        def write(target: Path) -> None:
            write_index(documents, target, k1=k1, b=b, processes=workers, progress=progress)

        build_once(folder, write)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> BM25Index:
        """Open the index in `folder`; takes milliseconds at any size."""
        return cls(folder)

    def __len__(self) -> int:
        return len(self._ranks)

    def __reduce__(self) -> tuple[Any, ...]:
        return BM25Index, (self.folder,)

    def search(self, query: str, k: int) -> list[Hit]:
        """Return at most `k` passages that share a term with `query`, best first.

        Raises:
            ConfigError: k is below 1.
        """
        return self.search_terms(analyzer.analyze(query), k)

    def search_terms(self, terms: list[str], k: int) -> list[Hit]:
        """Search for a query that is already analysed; see `search`."""
        ordinals, scores = self._best(terms, k)
        return [Hit(ordinal, self.id(ordinal), score) for ordinal, score in zip(ordinals, scores, strict=True)]

    def ordinals(self, query: str, k: int) -> list[int]:
        """Return only the ordinals of the results of `search`, without reading the table of ids."""
        return self._best(analyzer.analyze(query), k)[0]

    def _best(self, terms: list[str], k: int) -> tuple[list[int], list[float]]:
        if k < 1:
            raise ConfigError(f"k must be at least 1, not {k}")
        postings = [found for term, times in Counter(terms).items() if (found := self._postings(term, times))]
        if not postings:
            return [], []
        try:
            scratch = self._scratch.pop()
        except IndexError:
            scratch = np.zeros(min(RANGE, len(self)), dtype=np.float64)
        ordinals, scores = best(postings, k, scratch, self._ranks)
        self._scratch.append(scratch)
        return ordinals.tolist(), scores.tolist()

    def id(self, ordinal: int) -> str:
        """Return the id of a passage.

        Raises:
            IndexError: there is no such passage.
        """
        return self._ids[ordinal].decode("utf-8", "surrogatepass")

    def ordinal(self, name: str) -> int | None:
        """Return the ordinal of the passage with this id, or None."""
        found = self._ids.find(name.encode("utf-8", "surrogatepass"))
        return None if found < 0 else found

    def _postings(self, term: str, times: int) -> Postings | None:
        number = self._number(term.encode("utf-8", "surrogatepass"))
        if number < 0:
            return None
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        w = weight(times, self._filled, end - start)
        bound = float(impacts(w, self._peaks[number : number + 1])[0])
        return Postings(self._passages[start:end], self._codes[start:end], self._saturation, w, bound)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text())
        kept = (meta["format"], meta["analyzer"])
    except FileNotFoundError:
        raise DataError(f"{folder} is not a search index (no meta.json); build one with BM25Index.build") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error, "remove the folder and build the index again") from error
    if kept != (FORMAT, analyzer.VERSION):
        raise DataError(f"the index in {folder} was built by another version ({kept}); remove the folder and build it again")
    return cast("dict[str, Any]", meta)
