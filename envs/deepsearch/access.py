"""Visits through a retrieval server: `POST /access {"urls": [url]}` answers `{"result": [{"contents": str, …} | null]}` (ASearcher)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx

from empg_gym.retrieval.backends import Page, VisitFailed
from empg_gym.retrieval.http import HTTPTrouble, exchange, persistent
from empg_gym.retrieval.remote import RemoteRetriever

_MAX_PAGE = 16 << 20


@dataclass(frozen=True)
class ServerPages:
    """The pages of the server that `retriever` searches."""

    retriever: RemoteRetriever

    def visit(self, url: str) -> Page:
        end = time.monotonic() + self.retriever.seconds
        address = httpx.URL(self.retriever.url).copy_with(path="/access")
        try:
            reply = persistent(
                lambda: exchange(httpx.Request("POST", address, json={"urls": [url]}), end=end, max_bytes=_MAX_PAGE),
                tries=self.retriever.tries,
                end=end,
            )
        except HTTPTrouble as trouble:
            raise VisitFailed(f"the retrieval server does not answer: {trouble}") from trouble
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
