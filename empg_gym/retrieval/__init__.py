"""Full-text search for WebShop and Deep Search: Lucene's analyzer and BM25 over memory-mapped files.

Layers, lowest first: `analyzer` (text to terms) -> `bm25` (an index of texts by id) and `documents` (records by id) -> `corpus` (files of
passages, built once) -> `backends` (one protocol for local, optional and remote search) -> `server` (Search-R1 over HTTP).
"""

from __future__ import annotations

from empg_gym.retrieval.analyzer import analyze
from empg_gym.retrieval.bm25 import BM25Index, Hit
from empg_gym.retrieval.corpus import Corpus, Page, Passage, build_corpus, open_corpus
from empg_gym.retrieval.documents import DocumentStore

__all__ = ["BM25Index", "Corpus", "DocumentStore", "Hit", "Page", "Passage", "analyze", "build_corpus", "open_corpus"]
