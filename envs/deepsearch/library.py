"""What is searched: a retriever, an optional visitor, and their corpus where it is local.

Backends, by name:
    bm25                       the built-in index over a local corpus (default)
    bm25s, tantivy             optional packages over a local corpus
    http://…, https://…        a Search-R1 retrieval server
    brave, searxng, serpapi,
    serper, tavily             live web search (see `web`); keys come from the environment
    an object                  anything with `search(queries, k)`

Rules:
    - Visiting is enabled by default where the corpus is local: addresses are looked up only in the corpus. It is disabled by default on
      the live web and with a retrieval server, whose pages come from its `/access`.
    - A failed search or visit becomes an observation. It shows the message of `SearchFailed` and `VisitFailed`, which are safe to show;
      any other exception gives a fixed message, so that paths, keys and answers never leak.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from empg_gym.envs.deepsearch import tags
from empg_gym.errors import ConfigError, nearest
from empg_gym.retrieval.backends import LocalRetriever, Page, Passage, Retriever, SearchFailed, VisitFailed, Visitor, local_retriever
from empg_gym.retrieval.corpus import Corpus, open_corpus

LOCAL_BACKENDS = ("bm25", "bm25s", "tantivy")
LIVE_BACKENDS = ("brave", "searxng", "serpapi", "serper", "tavily")
"""Same names as `web.LIVE_SERVICES`; repeated here so that a local corpus does not import an HTTP client."""


@dataclass(frozen=True, slots=True)
class Library:
    """See the module docstring."""

    retriever: Retriever
    visitor: Visitor | None
    corpus: Corpus | None
    """The passages, where they are local; the expert looks up its passages here."""
    fingerprint: str
    blocking: bool
    """Whether a search waits for something outside the process, such as a server."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]] | str:
        """Return the passages found for each query, or an error message."""
        try:
            found = [list(passages)[:k] for passages in self.retriever.search(list(queries), k)]
            if len(found) != len(queries) or not all(isinstance(passage, Passage) for passages in found for passage in passages):
                raise TypeError("a retriever answers each query with a list of passages")
            return found
        except SearchFailed as error:
            return f"Search error: {tags.neutralise(str(error))}."
        except Exception:  # a user's backend may raise anything and must not end a run
            return "Search error: the search engine failed."

    def visit(self, url: str) -> Page | str:
        """Return the page, or an error message."""
        if self.visitor is None:
            return "Visit error: pages can't be visited here."
        try:
            page = self.visitor.visit(url)
            if not isinstance(page, Page):
                raise TypeError("a visitor returns a page")
            return page
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


def open_library(
    corpus: Corpus | None, backend: str | Retriever, visit: bool | str | Visitor | None, web: Mapping[str, Any] | None = None
) -> Library:
    """Open a library.

    Args:
        corpus: the passages, where they are local.
        backend: a name as in the module docstring, or a retriever.
        visit: whether pages can be visited; None decides by the kind of backend; "fetch" and "jina" visit the live web; a visitor
            object is used as is.
        web: `cache` ("off", "record", "replay" or "replay_only") and `recording` (its file) for live searches and visits.

    Raises:
        ConfigError: an unknown backend, a local backend without a corpus, visiting without pages to visit, or a live service without
            its key.
        MissingDependencyError: the backend's package is not installed.
    """
    live = isinstance(backend, str) and backend in LIVE_BACKENDS
    retriever = _retriever(corpus, backend, web) if isinstance(backend, str) else backend
    if web is not None and not live and not isinstance(visit, str):
        raise ConfigError("web applies to live searches and visits only; name a live backend or visitor, or omit web")
    visitor = _visitor(corpus, retriever, visit, live, web)
    name = backend if isinstance(backend, str) else type(backend).__name__
    content = corpus.fingerprint if corpus is not None else ""
    fingerprint = hashlib.sha256(f"{name} {content} {visitor is not None}".encode()).hexdigest()[:16]
    return Library(retriever, visitor, corpus, fingerprint, blocking=name not in LOCAL_BACKENDS)


def _retriever(corpus: Corpus | None, backend: str, web: Mapping[str, Any] | None) -> Retriever:
    if backend in LOCAL_BACKENDS:
        if corpus is None:
            raise ConfigError(f"backend {backend!r} searches a local corpus: give corpus=PATH (JSON lines of passages), or another backend")
        return local_retriever(backend, corpus)
    if backend.startswith(("http://", "https://")):
        from empg_gym.retrieval.remote import RemoteRetriever

        return RemoteRetriever(backend)
    if backend in LIVE_BACKENDS:
        from empg_gym.envs.deepsearch.web import live_search

        return live_search(backend, **_recording(web))
    known = nearest(backend, [*LOCAL_BACKENDS, *LIVE_BACKENDS])
    raise ConfigError(f"unknown backend {backend!r}; {known} (or the http address of a retrieval server)")


def _visitor(
    corpus: Corpus | None, retriever: Retriever, visit: bool | str | Visitor | None, live: bool, web: Mapping[str, Any] | None
) -> Visitor | None:
    if visit is False or (visit is None and (live or corpus is None)):
        return None
    if isinstance(visit, str) or (visit is True and live):
        from empg_gym.envs.deepsearch.web import live_visitor

        return live_visitor("fetch" if visit is True else visit, **_recording(web))
    if visit is not None and visit is not True:
        return visit
    if corpus is not None:
        return LocalRetriever(corpus)
    from empg_gym.envs.deepsearch.access import ServerPages
    from empg_gym.retrieval.remote import RemoteRetriever

    if isinstance(retriever, RemoteRetriever):
        return ServerPages(retriever)
    raise ConfigError("visit=True needs pages: give corpus=PATH, visit='fetch' or 'jina' for the live web, or a visitor object")


def _recording(web: Mapping[str, Any] | None) -> dict[str, Any]:
    settings = dict(web or {})
    for name in settings:
        if name not in ("cache", "recording"):
            raise ConfigError(f"unknown setting {name!r} of web; {nearest(name, ('cache', 'recording'))}")
    if settings.get("recording") is not None:
        settings["recording"] = Path(settings["recording"])
    return settings
