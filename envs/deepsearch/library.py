"""What is searched: a retriever, perhaps a visitor, and the corpus behind them where it is at hand.

Backends, by name:
    bm25                    the built-in index over a local corpus (default)
    bm25s, tantivy          optional packages over a local corpus
    http://…, https://…     a Search-R1 retrieval server
    serper, serpapi, …      live web search (see `web`); keys come from the environment
    an object               anything with `search(queries, k)`

Rules:
    - Visiting is on by default in a closed world, where an address is looked up in the corpus and nowhere else, and off on the live web.
    - A search or a visit that fails is an observation. Its text is the one that the retrieval layer marks as fit to be shown; any other
      exception is told as a bare fact, so that no path, key or answer can slip through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from empg_gym.envs.deepsearch import tags
from empg_gym.errors import ConfigError
from empg_gym.retrieval.backends import LocalRetriever, Page, Passage, Retriever, SearchFailed, VisitFailed, Visitor, local_retriever
from empg_gym.retrieval.corpus import Corpus, open_corpus
from empg_gym.retrieval.remote import RemoteRetriever

LOCAL_BACKENDS = ("bm25", "bm25s", "tantivy")


class Live(Protocol):
    """A backend that is both."""

    def search(self, queries: list[str], k: int) -> list[list[Passage]]: ...

    def visit(self, url: str) -> Page: ...


@dataclass(frozen=True, slots=True)
class Library:
    """See the module docstring."""

    retriever: Retriever
    visitor: Visitor | None
    corpus: Corpus | None
    """The passages, where they are local; the expert looks its passages up here."""
    fingerprint: str
    blocking: bool
    """Whether a search waits for something outside the process."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]] | str:
        """Return the passages of each query, or what went wrong."""
        try:
            return [found[:k] for found in self.retriever.search(list(queries), k)]
        except SearchFailed as error:
            return f"Search error: {tags.neutralise(str(error))}."
        except Exception:  # a backend of anybody's making must not end a run
            return "Search error: the search engine failed."

    def visit(self, url: str) -> Page | str:
        """Return the page, or what went wrong."""
        if self.visitor is None:
            return "Visit error: pages can't be visited here."
        try:
            return self.visitor.visit(url)
        except VisitFailed as error:
            return f"Visit error: {tags.neutralise(str(error))}."
        except Exception:
            return "Visit error: the page could not be read."


@lru_cache(maxsize=4)
def _corpus(path: str, stamp: tuple[int, int]) -> Corpus:
    return open_corpus(path)


def local_corpus(path: str | Path) -> Corpus:
    """Open a corpus file once per process.

    Raises:
        DataError: the file is missing or damaged.
    """
    file = Path(path)
    status = file.stat() if file.is_file() else None
    return _corpus(str(file), (status.st_size, status.st_mtime_ns) if status else (0, 0))


def open_library(corpus: Corpus | None, backend: str | Retriever, visit: bool | Visitor | None) -> Library:
    """Put a library together.

    Args:
        corpus: the passages, where they are local.
        backend: a name as in the module docstring, or a retriever.
        visit: whether pages can be visited; None decides by the kind of backend; a visitor is used as it is.

    Raises:
        ConfigError: an unknown backend, a local one without a corpus, or visiting where there is nothing to visit.
        MissingDependencyError: the backend's package is not installed.
    """
    closed = LocalRetriever(corpus) if corpus is not None else None
    if not isinstance(backend, str):
        retriever, live, name = backend, None, type(backend).__name__
    elif backend in LOCAL_BACKENDS:
        if corpus is None:
            raise ConfigError(f"backend {backend!r} searches a local corpus: give corpus=PATH (JSON lines of passages), or another backend")
        retriever, live, name = local_retriever(backend, corpus), None, backend
    elif backend.startswith(("http://", "https://")):
        retriever, live, name = RemoteRetriever(backend), None, "search-r1 server"
    else:
        live = _live(backend)
        retriever, name = live[0], backend
    visitor: Visitor | None
    if visit is None:
        visitor = closed if live is None else None
    elif isinstance(visit, bool):
        visitor = (closed or (live[1]() if live else None)) if visit else None
        if visit and visitor is None:
            raise ConfigError("visit=True needs pages: give corpus=PATH, a live backend, or a visitor object")
    else:
        visitor = visit
    content = corpus.fingerprint if corpus is not None else ""
    fingerprint = hashlib.sha256(f"{name} {content} {visitor is not None}".encode()).hexdigest()[:16]
    return Library(retriever, visitor, corpus, fingerprint, blocking=not (isinstance(backend, str) and backend in LOCAL_BACKENDS))


def _live(name: str) -> Any:
    raise ConfigError(f"unknown backend {name!r}")
