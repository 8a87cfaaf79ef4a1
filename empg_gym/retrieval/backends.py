"""The protocols of search and visit, and their local implementation.

Rules:
    - `search` returns one list per query, best passage first; the list is empty if nothing matches.
    - Failures outside the process (a server, the network) raise `SearchFailed` or `VisitFailed`. Environments show their text to the
      agent as an observation, so it must not contain keys or file paths.
    - Retrievers are picklable and thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from empg_gym.errors import ConfigError, EnvironmentFailure, nearest
from empg_gym.retrieval.corpus import Corpus, Page, Passage

__all__ = ["LocalRetriever", "Page", "Passage", "Retriever", "SearchFailed", "VisitFailed", "Visitor", "local_retriever"]


class SearchFailed(EnvironmentFailure):
    """A search failed; the text may be shown to an agent."""


class VisitFailed(EnvironmentFailure):
    """A page could not be read or is forbidden; the text may be shown to an agent."""


class Retriever(Protocol):
    """An object that finds passages."""

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        """Return one list per query with at most `k` passages, best first.

        Raises:
            SearchFailed: the search failed.
        """
        ...


class Visitor(Protocol):
    """An object that opens pages."""

    def visit(self, url: str) -> Page:
        """Return the page at `url`.

        Raises:
            VisitFailed: the page does not exist, can't be read, or is forbidden.
        """
        ...


@dataclass(frozen=True)
class LocalRetriever:
    """BM25 search and page visits over a local corpus."""

    corpus: Corpus

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        return [[self.corpus.passage(hit.ordinal, hit.score) for hit in self.corpus.index.search(query, k)] for query in queries]

    def visit(self, url: str) -> Page:
        page = self.corpus.page(url)
        if page is None:
            raise VisitFailed("there is no page at this address")
        return page


def _bm25s(corpus: Corpus) -> Retriever:
    from empg_gym.retrieval.bm25s_backend import Bm25sRetriever

    return Bm25sRetriever(corpus)


def _tantivy(corpus: Corpus) -> Retriever:
    from empg_gym.retrieval.tantivy_backend import TantivyRetriever

    return TantivyRetriever(corpus)


_LOCAL: dict[str, Callable[[Corpus], Retriever]] = {"bm25": LocalRetriever, "bm25s": _bm25s, "tantivy": _tantivy}


def local_retriever(name: str, corpus: Corpus) -> Retriever:
    """Return the search engine `name` over `corpus`: "bm25" (built in), "bm25s" or "tantivy" (optional packages).

    Raises:
        ConfigError: the engine is unknown.
        MissingDependencyError: its package is not installed.
    """
    if name not in _LOCAL:
        raise ConfigError(f"unknown local search engine {name!r}; {nearest(name, _LOCAL)}")
    return _LOCAL[name](corpus)
