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
    - A reply of more than 128 KiB is sent in pieces, without a Content-Length; the next piece is made when the client has taken the last.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Send

from empg_gym.net.server import HELD
from empg_gym.retrieval.backends import LocalRetriever, Retriever, SearchFailed
from empg_gym.retrieval.corpus import Corpus
from empg_gym.retrieval.replies import Hits, Pages, Reply, pieces


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
    max_stored: int = 32 << 20
    """Size of a reply's documents as the corpus stores them, in bytes; the reply has two to three times as many."""
    max_waiting: int = 256
    """Number of requests being processed or waiting."""
    threads: int = 4
    """Number of requests being processed at once."""


_AT_ONCE = 32
"""Queries whose documents the engine returns at once."""


class _Refused(Exception):
    """The request is malformed; the text says why."""


class _Streamed(StreamingResponse):
    """A reply in pieces, with the memory that it takes until it is sent."""

    def __init__(self, made: AsyncIterator[bytes], held: int) -> None:
        super().__init__(made, media_type="application/json")
        self._held = held

    async def stream_response(self, send: Send) -> None:
        async def noting(message: Message) -> None:
            await send({**message, HELD: self._held} if message["type"] == "http.response.start" else message)

        await super().stream_response(noting)


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

    async def _answer(self, request: Request, work: Callable[[dict[str, Any]], Reply]) -> Response:
        if self.waiting >= self.limits.max_waiting:
            return JSONResponse({"error": "the server is busy"}, 503, headers={"Retry-After": "1"})
        body = await request.body()
        self.waiting += 1
        try:
            first, rest, held = await self._run(self._begin, work, body)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, 400)
        except SearchFailed as failure:
            return JSONResponse({"error": str(failure)}, 502)
        finally:
            self.waiting -= 1
        return Response(first, media_type="application/json") if rest is None else _Streamed(self._streamed(first, rest), held)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call, *arguments)

    def _begin(self, work: Callable[[dict[str, Any]], Reply], body: bytes) -> tuple[bytes, Iterator[bytes] | None, int]:
        """Return the first piece of a reply, the others if there are any, and the memory that these take."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refused("the body is not JSON") from None
        if not isinstance(message, dict):
            raise _Refused("the body must be a JSON object")
        reply = work(message)
        self._check_size(reply)
        made = pieces(reply.fragments())
        first, second = next(made), next(made, None)
        return first, None if second is None else chain([second], made), reply.held_bytes

    async def _streamed(self, first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces of a reply, each made when the one before it has been sent."""
        piece: bytes | None = first
        while piece is not None:
            yield piece
            piece = await self._run(next, rest, None)

    def _check_size(self, reply: Reply) -> None:
        if reply.stored_bytes > self.limits.max_stored:
            raise _Refused(f"the reply would have more than {self.limits.max_stored} bytes of documents: ask for fewer or a smaller topk")

    def _retrieve(self, message: dict[str, Any]) -> Hits:
        queries = self._texts(message, "queries")
        if any(len(query) > self.limits.max_characters for query in queries):
            raise _Refused(f"a query may have {self.limits.max_characters} characters")
        k = message.get("topk") or self.limits.topk
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.limits.max_topk:
            raise _Refused(f"topk must be an integer from 1 to {self.limits.max_topk}")
        scored = message.get("return_scores") or False
        if not isinstance(scored, bool):
            raise _Refused("return_scores must be true or false")
        hits = Hits(self.corpus, scored=scored)
        for place in range(0, len(queries), _AT_ONCE):
            for passages in self.engine.search(queries[place : place + _AT_ONCE], k):
                hits.add(passages)
            self._check_size(hits)
        return hits

    def _access(self, message: dict[str, Any]) -> Pages:
        return Pages(self.corpus, self._texts(message, "urls"))

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
