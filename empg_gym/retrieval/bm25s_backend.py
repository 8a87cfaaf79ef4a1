"""Optional search with bm25s: Lucene's formula with exact instead of quantised lengths.

Rules:
    - Uses the terms of our analyzer, k1 0.9 and b 0.4; a repeated query term is weighted by its number of occurrences.
    - Only passages that share a term with the query are returned; ties among them are ordered by id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from empg_gym.errors import require
from empg_gym.retrieval.analyzer import analyze
from empg_gym.retrieval.corpus import Corpus, Passage, contents_of
from empg_gym.retrieval.folders import build_once


class Bm25sRetriever:
    """Search of `corpus` with bm25s; its index is built once, in the corpus's folder.

    Raises:
        MissingDependencyError: bm25s is not installed.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._bm25s = cast("Any", require("bm25s", "search", "the search engine 'bm25s'"))
        self._corpus = corpus
        folder = corpus.folder / f"bm25s-{self._bm25s.__version__}"
        if not folder.exists():
            build_once(folder, self._build)
        self._engine = self._bm25s.BM25.load(str(folder), mmap=True, show_progress=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bm25sRetriever, (self._corpus,)

    def _build(self, folder: Path) -> None:
        engine = self._bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        vocabulary: dict[str, int] = {}
        rows = [[vocabulary.setdefault(term, len(vocabulary)) for term in analyze(contents_of(record))] for record in self._corpus.records]
        engine.index((rows, vocabulary), show_progress=False)
        engine.save(str(folder), show_progress=False)

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Passage]:
        terms = [term for term in analyze(query) if term in self._engine.vocab_dict]
        if not terms:
            return []
        scores = np.asarray(self._engine.get_scores(terms))
        size = min(k, len(scores))
        best = np.argpartition(-scores, size - 1)[:size]
        found = [self._corpus.passage(int(ordinal), float(scores[ordinal])) for ordinal in best if scores[ordinal] > 0]
        return sorted(found, key=lambda passage: (-(passage.score or 0.0), passage.id))
