"""The body of a reply, bounded: what every client of foreign servers reads bytes with.

Rules:
    - A body is cut off at `max_bytes`, counted after decompression. Compressed data is unpacked piece by piece, so that a small body that
      unpacks to a huge one costs no memory.
    - gzip and deflate are unpacked; other encodings are refused. What follows the end of the compressed data is ignored, and refused beyond
      64 KiB.
    - The texts of errors may be shown to an agent: they are part of the observations of Deep Search.
"""

from __future__ import annotations

import zlib

from empg_gym.errors import EMPGGymError

ENCODINGS = "gzip, deflate"
"""Value of Accept-Encoding for replies that are read here."""
_MOST_IGNORED = 1 << 16


class BodyError(EMPGGymError):
    """The body can't be used; the text contains nothing of it."""

    def __init__(self, text: str, *, retryable: bool = False) -> None:
        super().__init__(text)
        self.retryable = retryable
        """Whether another attempt may succeed."""


class BoundedBody:
    """Collects a body.

    Args:
        encoding: value of the header Content-Encoding.
        max_bytes: maximum length after decompression.

    Raises:
        BodyError: the encoding is not supported.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BodyError("it is compressed in a way that is not read here")
        self._limit = max_bytes
        self._body = bytearray()
        self._ignored = 0
        # 32: gzip or zlib, by its header.
        self._unpacker = None if encoding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, chunk: bytes) -> None:
        """Add bytes as they arrive.

        Raises:
            BodyError: the body is too large or its compressed data is damaged.
        """
        if self._unpacker is None:
            self._body += chunk
        elif self._unpacker.eof:
            self._ignored += len(chunk)
            if self._ignored > _MOST_IGNORED:
                raise BodyError("it continues after the end of its compressed data")
        else:
            try:
                self._body += self._unpacker.decompress(chunk, self._limit + 1 - len(self._body))
            except zlib.error:
                raise BodyError("its compressed data is damaged") from None
        if len(self._body) > self._limit or (self._unpacker is not None and self._unpacker.unconsumed_tail):
            raise BodyError(f"it is larger than {self._limit:,} bytes")

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            BodyError: its compressed data was cut off.
        """
        if self._unpacker is not None and not self._unpacker.eof:
            raise BodyError("it was cut off", retryable=True)
        return bytes(self._body)
