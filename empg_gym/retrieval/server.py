"""Serve a corpus with the HTTP API of Search-R1's retrieval server, plus ASearcher's page access.

    POST /retrieve  {"queries": str | [str], "topk": int | null, "return_scores": bool}
                    -> {"result": [[document, …], …]}                                     without scores
                    -> {"result": [[{"document": document, "score": float}, …], …]}       with scores
    POST /access    {"urls": str | [str]} -> {"result": [{"url", "title", "contents"} | null, …]}
    GET  /health    -> {"status": "ok", "passages": int, "fingerprint": str, "engine": str, "waiting": int}

Rules:
    - A document is the corpus's own record with `id`, `title`, `text`, `contents` (and `url` where there is one) always present.
    - `topk` null, 0 or absent means the server's default.
    - Invalid requests are refused with `{"error": "…"}`: 400 (malformed, or the reply would be too large), 503 with Retry-After (too many
      requests waiting). Slow, large and foreign requests are refused by the server that runs the application (`empg_gym.net.server`),
      which also bounds what clients that don't read hold. A request takes a place only once it has arrived.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from empg_gym.retrieval.backends import LocalRetriever, Retriever, SearchFailed
from empg_gym.retrieval.corpus import Corpus, Passage, contents_of


@dataclass(frozen=True)
class Limits:
    """Limits of a server."""

    topk: int = 3
    """Default number of passages per query."""
    max_topk: int = 100
    max_queries: int = 512
    """Queries or addresses per request."""
    max_characters: int = 20_000
    """Length of a query, in characters."""
    max_reply: int = 64 << 20
    """Size of a reply, in bytes."""
    max_waiting: int = 256
    """Number of requests being processed or waiting."""
    threads: int = 4
    """Number of requests being processed at once."""


_AT_ONCE = 32
"""Queries whose documents are in memory at once."""


class _Refused(Exception):
    """The request is malformed; the text says why."""


class _Service:
    def __init__(self, corpus: Corpus, engine: Retriever, limits: Limits) -> None:
        self.corpus = corpus
        self.engine = engine
        self.limits = limits
        self.waiting = 0
        self.pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="retrieval")

    async def retrieve(self, request: Request) -> Response:
        return await self._answer(request, self._retrieve)

    async def access(self, request: Request) -> Response:
        return await self._answer(request, self._access)

    async def health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "passages": len(self.corpus),
                "fingerprint": self.corpus.fingerprint,
                "engine": type(self.engine).__name__,
                "waiting": self.waiting,
            }
        )

    async def _answer(self, request: Request, work: Any) -> Response:
        if self.waiting >= self.limits.max_waiting:
            return JSONResponse({"error": "the server is busy"}, 503, headers={"Retry-After": "1"})
        body = await request.body()
        self.waiting += 1
        try:
            raw = await asyncio.get_running_loop().run_in_executor(self.pool, self._encoded, work, body)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, 400)
        except SearchFailed as failure:
            return JSONResponse({"error": str(failure)}, 502)
        finally:
            self.waiting -= 1
        return Response(raw, media_type="application/json")

    def _encoded(self, work: Callable[[dict[str, Any]], Iterator[list[Any]]], body: bytes) -> bytes:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refused("the body is not JSON") from None
        if not isinstance(message, dict):
            raise _Refused("the body must be a JSON object")
        reply, separator = bytearray(b'{"result": ['), b""
        for entries in work(message):
            reply += separator + json.dumps(entries)[1:-1].encode()
            separator = b", "
            if len(reply) > self.limits.max_reply:
                raise _Refused(f"the reply would have more than {self.limits.max_reply} bytes: ask for fewer entries or a smaller topk")
        return bytes(reply + b"]}")

    def _retrieve(self, message: dict[str, Any]) -> Iterator[list[Any]]:
        queries = self._texts(message, "queries")
        if any(len(query) > self.limits.max_characters for query in queries):
            raise _Refused(f"a query may have {self.limits.max_characters} characters")
        k = message.get("topk") or self.limits.topk
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.limits.max_topk:
            raise _Refused(f"topk must be an integer from 1 to {self.limits.max_topk}")
        scored = message.get("return_scores") or False
        if not isinstance(scored, bool):
            raise _Refused("return_scores must be true or false")
        for place in range(0, len(queries), _AT_ONCE):
            yield [self._found(passages, scored) for passages in self.engine.search(queries[place : place + _AT_ONCE], k)]

    def _found(self, passages: list[Passage], scored: bool) -> list[Any]:
        documents = [self._document(passage.id) for passage in passages]
        if not scored:
            return documents
        return [{"document": found, "score": p.score} for found, p in zip(documents, passages, strict=True)]

    def _document(self, name: str) -> dict[str, Any]:
        ordinal = self.corpus.records.ordinal(name)
        if ordinal is None:
            raise LookupError(name)
        record = self.corpus.records[ordinal]
        passage = self.corpus.passage(ordinal)
        return {**record, "id": passage.id, "title": passage.title, "text": passage.text, "contents": contents_of(record)}

    def _access(self, message: dict[str, Any]) -> Iterator[list[Any]]:
        for url in self._texts(message, "urls"):
            page = self.corpus.page(url)
            yield [{"url": page.url, "title": page.title, "contents": f'"{page.title}"\n{page.text}'} if page else None]

    def _texts(self, message: dict[str, Any], name: str) -> list[str]:
        given = message.get(name)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _Refused(f"{name} must be a string or a list of strings")
        if len(texts) > self.limits.max_queries:
            raise _Refused(f"{name} may have at most {self.limits.max_queries} entries")
        return texts


def create_app(corpus: Corpus, engine: Retriever | None = None, limits: Limits | None = None) -> Starlette:
    """Return the ASGI application that serves `corpus`.

    Args:
        corpus: source of documents and pages.
        engine: search engine; None = the built-in BM25. Its passages are looked up in `corpus` by id.
        limits: limits on requests.

    The limits on clients are those of the server that runs it: see `empg_gym.net.server.make_server`.
    """
    service = _Service(corpus, engine or LocalRetriever(corpus), limits or Limits())
    return Starlette(
        routes=[
            Route("/retrieve", service.retrieve, methods=["POST"]),
            Route("/access", service.access, methods=["POST"]),
            Route("/health", service.health, methods=["GET"]),
        ]
    )
