"""One HTTP exchange within hard limits, and trying again.

Rules:
    - `end` is a point of `time.monotonic()`; connecting, TLS, headers and body together end by then, however slowly a server drips.
    - A body is cut off at `max_bytes`, counted after decompression (gzip or deflate; decompressed piece by piece, so that a small body
      that unpacks to a huge one costs no memory). Other encodings are refused.
    - `pin` is the only address that is connected to; name, SNI, certificate check and Host header stay those of the URL.
    - No redirects, cookies, proxies or netrc; nothing of a request is logged (httpx logs addresses, and these may hold keys), and no
      error carries a part of it, not even as its cause.
"""

from __future__ import annotations

import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from empg_gym.net.retry_after import retry_after

CONNECT_SECONDS = 5.0
RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0


class HTTPTrouble(Exception):
    """No usable answer; the text has no address, header or key in it."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing
        """Whether trying again may help."""


@dataclass(frozen=True)
class Reply:
    """An answer that was read whole."""

    status: int
    headers: httpx.Headers
    body: bytes
    """After decompression."""


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, end: float) -> None:
        self._inner = inner
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._end, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._end, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._end, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._end)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that end in time, and to the pinned address only."""

    def __init__(self, end: float, pin: str | None) -> None:
        self._end = end
        self._pin = pin

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        left = min(CONNECT_SECONDS, _left(self._end, httpcore.ConnectTimeout))
        stream = httpcore.SyncBackend().connect_tcp(self._pin or host, port, left, local_address, socket_options or [])
        return _Stream(stream, self._end)


def _left(end: float, error: type[Exception]) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise error("the time is over")
    return left


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def exchange(request: httpx.Request, *, end: float, max_bytes: int, pin: str | None = None, types: tuple[str, ...] = ()) -> Reply:
    """Send `request` and read the answer.

    Args:
        request: what to send; `Accept-Encoding` is set here.
        end: point of `time.monotonic()` by which everything is done.
        max_bytes: most bytes of a body.
        pin: IP address to connect to; None = whatever the name resolves to.
        types: media types of which a body is read; empty = all. Bodies of redirects and errors are never refused for their type.

    Raises:
        HTTPTrouble: no answer, a broken one, one of another type, or one over a limit.
    """
    url = request.url
    request.headers["Accept-Encoding"] = "gzip, deflate"
    request.headers["Connection"] = "close"
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    plain = httpcore.Request(request.method, target, headers=request.headers.raw, content=request.read())
    try:
        with httpcore.ConnectionPool(
            ssl_context=_trust() if url.scheme == "https" else None, max_connections=1, network_backend=_Backend(end, pin)
        ) as pool:
            answer = pool.handle_request(plain)
            try:
                headers = httpx.Headers(answer.headers)
                kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                if types and answer.status == 200 and kind not in types:
                    raise HTTPTrouble(f"it is of the type {kind[:60] or 'unknown'}, which is not read here")
                return Reply(answer.status, headers, _read(answer, headers.get("content-encoding", ""), max_bytes))
            finally:
                answer.close()
    except httpcore.TimeoutException:
        raise HTTPTrouble("it took too long", passing=True) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError):
        raise HTTPTrouble("the connection failed", passing=True) from None


def _read(answer: httpcore.Response, encoding: str, max_bytes: int) -> bytes:
    body = bytearray()
    chunks: Iterator[bytes] = answer.iter_stream()
    for piece in _unpacked(chunks, encoding.strip().lower(), max_bytes):
        body += piece
        if len(body) > max_bytes:
            raise HTTPTrouble(f"it is larger than {max_bytes:,} bytes")
    return bytes(body)


def _unpacked(chunks: Iterator[bytes], encoding: str, limit: int) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HTTPTrouble("it is compressed in a way that is not read here")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header
    try:
        for chunk in chunks:
            # Never more than one byte above the limit comes out of a chunk, so the caller stops in time.
            yield unpacker.decompress(chunk, limit + 1)
            if unpacker.unconsumed_tail:
                raise HTTPTrouble(f"it is larger than {limit:,} bytes")
    except zlib.error:
        raise HTTPTrouble("its compressed data is damaged") from None
    if not unpacker.eof:
        raise HTTPTrouble("it was cut off", passing=True)


def persistent(send: Callable[[], Reply], *, tries: int, end: float) -> Reply:
    """Call `send` until it brings an answer that trying again would not mend.

    Waits between tries grow from half a second, with jitter so that many workers do not come back at once; a `Retry-After` is
    honoured, and where it lies beyond `end` there is no further try.

    Raises:
        HTTPTrouble: the last try failed without an answer.
    """
    jitter = random.Random()  # never part of an episode's randomness: its purpose is to differ between processes
    for attempt in range(1, tries + 1):
        asked = 0.0
        try:
            reply = send()
            if reply.status not in RETRY_STATUSES or attempt == tries:
                return reply
            asked = retry_after(reply.headers) or 0.0
        except HTTPTrouble as trouble:
            if not trouble.passing or attempt == tries:
                raise
            reply, kept = None, trouble
        wait = max(asked, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)) * jitter.uniform(0.5, 1.0))
        if time.monotonic() + wait >= end:
            if reply is not None:
                return reply
            raise kept
        time.sleep(wait)
    raise AssertionError("unreachable")
