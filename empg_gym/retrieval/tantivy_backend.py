"""Optional search with tantivy: fast at any size, with different scores.

Rules:
    - Uses the terms of our analyzer, so that only the scores differ: tantivy's BM25 has fixed k1 1.2 and b 0.75.
    - Queries are built from terms, not parsed: any text is a valid query.
    - Ties among the passages that tantivy returns are ordered by id.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

from empg_gym.errors import require
from empg_gym.retrieval.analyzer import analyze
from empg_gym.retrieval.corpus import Corpus, Passage, contents_of
from empg_gym.retrieval.folders import build_once


class TantivyRetriever:
    """Search of `corpus` with tantivy; its index is built once, in the corpus's folder.

    Raises:
        MissingDependencyError: tantivy is not installed.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._tantivy = cast("Any", require("tantivy", "search", "the search engine 'tantivy'"))
        self._corpus = corpus
        folder = corpus.folder / f"tantivy-{self._tantivy.__version__}"
        if not folder.exists():
            build_once(folder, self._build)
        self._index = self._tantivy.Index.open(str(folder))
        self._schema = self._index.schema

    def __reduce__(self) -> tuple[Any, ...]:
        return TantivyRetriever, (self._corpus,)

    def _build(self, folder: Path) -> None:
        fields = self._tantivy.SchemaBuilder()
        fields.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
        fields.add_unsigned_field("ordinal", fast=True)
        index = self._tantivy.Index(fields.build(), path=str(folder))
        writer = index.writer(heap_size=256_000_000, num_threads=1)
        for ordinal, record in enumerate(self._corpus.records):
            document = self._tantivy.Document(body=" ".join(analyze(contents_of(record))))
            document.add_unsigned("ordinal", ordinal)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        searcher = self._index.searcher()
        return [self._search(searcher, query, k) for query in queries]

    def _search(self, searcher: Any, query: str, k: int) -> list[Passage]:
        engine = self._tantivy
        clauses = []
        for term, times in Counter(analyze(query)).items():
            clause = engine.Query.term_query(self._schema, "body", term, "freq")
            clauses.append((engine.Occur.Should, clause if times == 1 else engine.Query.boost_query(clause, float(times))))
        if not clauses:
            return []
        hits = searcher.search(engine.Query.boolean_query(clauses), k, count=False).hits
        ordinals = searcher.fast_field_values("ordinal", [address for _, address in hits])
        found = [self._corpus.passage(ordinal, float(score)) for (score, _), ordinal in zip(hits, ordinals, strict=True)]
        return sorted(found, key=lambda passage: (-(passage.score or 0.0), passage.id))
