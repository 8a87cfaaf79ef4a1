"""Opening pages of the live web: a guarded fetcher, and the Jina reader.

Rules of the fetcher:
    - Every address, the first one and that of each redirect, passes the guard (`page_guard`); the connection goes to the address that
      was checked.
    - At most `redirects` redirects, `max_bytes` after decompression, and `seconds` in total for names, robots.txt, redirects and retries.
    - Only HTML, plain text and JSON are read. Text is extracted and cleaned (`extract`); only HTML has a title.
    - It identifies itself, sends no cookies, uses no proxy, respects a rate limit, and obeys robots.txt unless told otherwise.
    - Failures raise `VisitFailed`, whose text may be shown to an agent: these texts are part of the environment.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from functools import partial
from urllib.robotparser import RobotFileParser

import httpx

from empg_gym.envs.deepsearch.web.cache import NotRecorded, Recorder
from empg_gym.envs.deepsearch.web.charset import decode
from empg_gym.envs.deepsearch.web.extract import clean, clean_line, from_html
from empg_gym.envs.deepsearch.web.keys import optional_key
from empg_gym.envs.deepsearch.web.page_guard import PageGuard
from empg_gym.envs.deepsearch.web.rate import Bucket
from empg_gym.net.exchange import ExchangeError, Reply, exchange
from empg_gym.net.retry import RetryPolicy, is_retryable
from empg_gym.net.send import send_with_retries
from empg_gym.retrieval.backends import Page, VisitFailed

USER_AGENT = "empg-gym (research agent)"
"""Name that requests carry."""
TYPES = ("text/html", "application/xhtml+xml", "text/plain", "application/json")
"""Media types that are read."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True)
class Fetcher:
    """Fetches pages itself."""

    guard: PageGuard = field(default_factory=PageGuard)
    seconds: float = 20.0
    """Time limit of one visit, retries included."""
    max_bytes: int = 2_000_000
    redirects: int = 5
    tries: int = 2
    """Attempts per request."""
    robots: bool = True
    """Whether to obey a site's robots.txt; an unreadable one forbids nothing."""
    recorder: Recorder = field(default_factory=Recorder)
    bucket: Bucket = field(default_factory=lambda: Bucket(5.0, 10), compare=False)
    """Rate limit of this process."""

    def visit(self, url: str) -> Page:
        self.guard.parse(url)
        end = time.monotonic() + self.seconds
        request = {"url": url, "max_bytes": self.max_bytes, "robots": self.robots}
        try:
            raw = self.recorder.fetch("fetch", request, lambda: self._fetch(url, end))
        except NotRecorded as error:
            raise VisitFailed(str(error)) from None
        head, _, body = raw.partition(b"\n")
        final, kind = json.loads(head)
        self.guard.parse(final)  # a recording may be older than the list of denied sites
        return _page(final, kind, body)

    def _fetch(self, url: str, end: float) -> bytes:
        """Return the data to record: a JSON line of the final address and the content type, then the body."""
        for _ in range(self.redirects + 1):
            if self.robots and not self._may(url, end):
                raise VisitFailed("the site does not want this page to be read by programs (robots.txt)")
            try:
                reply = send_with_retries(partial(self._exchange, url, end), retry=RetryPolicy(retries=self.tries - 1), end=end)
            except ExchangeError as error:
                raise VisitFailed(f"the page could not be read: {error}") from error
            if reply.status in _REDIRECTS and "location" in reply.headers:
                url = _joined(url, reply.headers["location"])
            elif reply.status == 200:
                return json.dumps([url, reply.headers.get("content-type", "")]).encode() + b"\n" + reply.body
            else:
                what = "has trouble" if is_retryable(reply.status) else "has no such page for us"
                raise VisitFailed(f"the site {what} (status {reply.status})")
        raise VisitFailed(f"the page could not be read: more than {self.redirects} redirects")

    def _exchange(self, url: str, end: float) -> Reply:
        target = self.guard.check(url, end - time.monotonic())
        if not self.bucket.take(end):
            raise ExchangeError("too many pages at once")
        headers = {"User-Agent": USER_AGENT, "Accept": ", ".join(TYPES), "Accept-Language": "en, *;q=0.5"}
        request = httpx.Request("GET", target.url, headers=headers)
        return exchange(request, end=end, max_bytes=self.max_bytes, pin=target.ip, types=TYPES)

    def _may(self, url: str, end: float) -> bool:
        rules = RobotFileParser()
        address = str(self.guard.parse(url).copy_with(raw_path=b"/robots.txt"))
        try:
            reply = self._exchange(address, end)
        except (ExchangeError, VisitFailed):
            return True
        if reply.status != 200:
            return True
        try:
            rules.parse(reply.body.decode("utf-8", "replace").splitlines()[:5000])
            return rules.can_fetch("empg-gym", url)
        except ValueError:  # the parser's reaction to malformed addresses and numbers
            return True


@dataclass(frozen=True)
class JinaReader:
    """Opens pages through r.jina.ai, which fetches and converts them; JINA_API_KEY is used if it is set."""

    endpoint: str = "https://r.jina.ai/"
    guard: PageGuard = field(default_factory=PageGuard)
    """Only the form of an address and its site are checked: the name is resolved and fetched by the service, not here."""
    seconds: float = 45.0
    max_bytes: int = 4_000_000
    tries: int = 3
    recorder: Recorder = field(default_factory=Recorder)
    bucket: Bucket = field(default_factory=lambda: Bucket(5.0, 10), compare=False)

    def __post_init__(self) -> None:
        optional_key("jina", ("JINA_API_KEY",))  # an unusable key is reported here, not during an episode

    def visit(self, url: str) -> Page:
        wanted = str(self.guard.parse(url))
        end = time.monotonic() + self.seconds
        try:
            raw = self.recorder.fetch("jina", {"url": wanted}, lambda: self._fetch(wanted, end))
        except NotRecorded as error:
            raise VisitFailed(str(error)) from None
        except ExchangeError as error:
            raise VisitFailed(f"the page could not be read: {error}") from error
        text = clean(raw.decode("utf-8", "replace"))
        title = re.match(r"Title: (.*)", text)
        return Page(url=wanted, title=clean_line(title[1]) if title else "", text=text)

    def _fetch(self, url: str, end: float) -> bytes:
        reply = send_with_retries(partial(self._exchange, url, end), retry=RetryPolicy(retries=self.tries - 1), end=end)
        if reply.status != 200:
            raise VisitFailed(f"the page could not be read (the reader's status {reply.status})")
        return reply.body

    def _exchange(self, url: str, end: float) -> Reply:
        if not self.bucket.take(end):
            raise ExchangeError("too many pages at once")
        headers = {"User-Agent": USER_AGENT, "Accept": "text/plain"}
        if key := optional_key("jina", ("JINA_API_KEY",)):
            headers["Authorization"] = f"Bearer {key}"
        return exchange(httpx.Request("GET", self.endpoint.rstrip("/") + "/" + url, headers=headers), end=end, max_bytes=self.max_bytes)


def _joined(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, ValueError, TypeError):
        raise VisitFailed("the page redirects to something that is no address") from None


def _page(url: str, kind: str, body: bytes) -> Page:
    media = kind.partition(";")[0].strip().lower()
    named = _CHARSET.search(kind) or (_CHARSET.search(body[:2048].decode("latin-1")) if "html" in media else None)
    text = decode(body, named[1] if named else "")
    if "html" in media:
        title, text = from_html(text)
        return Page(url=url, title=title, text=text)
    return Page(url=url, title="", text=clean(text))
