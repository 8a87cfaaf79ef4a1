"""Visits through a retrieval server: `POST /access {"urls": [url]}` answers `{"result": [{"contents": str, …} | null]}` (ASearcher)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx

from empg_gym.net.exchange import ExchangeError, Reply, exchange
from empg_gym.net.retry import RetryPolicy
from empg_gym.net.send import send_with_retries
from empg_gym.retrieval.backends import Page, VisitFailed
from empg_gym.retrieval.remote import RemoteRetriever

_MAX_PAGE = 16 << 20


@dataclass(frozen=True)
class ServerPages:
    """Pages of the server that `retriever` searches."""

    retriever: RemoteRetriever

    def visit(self, url: str) -> Page:
        end = time.monotonic() + self.retriever.seconds
        address = httpx.URL(self.retriever.url).copy_with(path="/access")

        def send() -> Reply:
            return exchange(httpx.Request("POST", address, json={"urls": [url]}), end=end, max_bytes=_MAX_PAGE)

        try:
            reply = send_with_retries(send, retry=RetryPolicy(retries=self.retriever.tries - 1), end=end)
        except ExchangeError as error:
            raise VisitFailed(f"the retrieval server does not answer: {error}") from error
        if reply.status != 200:
            raise VisitFailed(f"the retrieval server gives no pages (status {reply.status})")
        try:
            (page,) = json.loads(reply.body)["result"]
            text = None if page is None else str(page["contents"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise VisitFailed("the retrieval server's answer can't be read") from None
        if text is None:
            raise VisitFailed("there is no page at this address")
        title = str(page.get("title") or "")
        return Page(url=url, title=title, text=text.removeprefix(f'"{title}"\n'))
