"""The protocol of everything that can be searched, and the local index behind it.

Rules:
    - `search` answers every query with a list of its own, best passage first; no match is an empty list.
    - What goes wrong outside this program (a server, a network) raises `SearchFailed` or `VisitFailed`, whose text may be shown to
      an agent: no keys, no file paths. An environment turns it into an observation.
    - Retrievers can be pickled and used from several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from empg_gym.errors import ConfigError, EnvironmentFailure, nearest
from empg_gym.retrieval.corpus import Corpus, Page, Passage

__all__ = ["LocalRetriever", "Page", "Passage", "Retriever", "SearchFailed", "VisitFailed", "Visitor", "local_retriever"]


class SearchFailed(EnvironmentFailure):
    """A search could not be carried out; the text may be shown to an agent."""


class VisitFailed(EnvironmentFailure):
    """A page could not be read or must not be; the text may be shown to an agent."""


class Retriever(Protocol):
    """Anything that finds passages."""

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        """Return at most `k` passages a query, best first, one list a query.

        Raises:
            SearchFailed: the search could not be carried out.
        """
        ...


class Visitor(Protocol):
    """Anything that opens pages."""

    def visit(self, url: str) -> Page:
        """Return the page at `url`.

        Raises:
            VisitFailed: there is no such page, or it can't or must not be read.
        """
        ...


@dataclass(frozen=True)
class LocalRetriever:
    """BM25 over a local corpus, and its pages by address: closed-world search and visit."""

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
    """Return the engine `name` over `corpus`: "bm25" (built in), "bm25s" or "tantivy" (optional packages).

    Raises:
        ConfigError: there is no such engine.
        MissingDependencyError: its package is not installed.
    """
    if name not in _LOCAL:
        raise ConfigError(f"there is no local search engine {name!r}; {nearest(name, _LOCAL)}")
    return _LOCAL[name](corpus)
