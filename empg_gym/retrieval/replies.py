"""Replies of the retrieval server, made in pieces: a client that does not read holds one piece and a few numbers per document.

Rules:
    - The search is done and the size is known before the first piece, so that a reply that is too large is refused as a whole.
    - Until then documents are kept as their places in the corpus; each is read when its piece is made.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from empg_gym.retrieval.backends import Passage
from empg_gym.retrieval.corpus import Corpus, contents_of, passage_of

PIECE = 1 << 17
"""Least size of a piece that is not the last one, in bytes. A piece ends with a document."""


class Reply(Protocol):
    """What a request found."""

    @property
    def stored_bytes(self) -> int:
        """Size of its documents in the corpus; the reply has two to three times as many."""
        ...

    @property
    def held_bytes(self) -> int:
        """Memory that it takes until it is sent."""
        ...

    def fragments(self) -> Iterator[bytes]:
        """Yield the members of the reply's list, as JSON."""
        ...


class Hits:
    """The documents of queries, as the reply to `/retrieve`.

    Args:
        corpus: source of the documents.
        scored: whether each document comes with its score.
    """

    def __init__(self, corpus: Corpus, *, scored: bool) -> None:
        self._corpus, self._scored = corpus, scored
        self._counts, self._ordinals, self._scores = array("i"), array("q"), array("d")
        self.stored_bytes = 0

    @property
    def held_bytes(self) -> int:
        return sum(len(each) * each.itemsize for each in (self._counts, self._ordinals, self._scores))

    def add(self, passages: list[Passage]) -> None:
        """Add the passages of the next query.

        Raises:
            LookupError: one of them is not in the corpus.
        """
        for passage in passages:
            ordinal = self._corpus.records.ordinal(passage.id)
            if ordinal is None:
                raise LookupError(passage.id)
            self._ordinals.append(ordinal)
            self.stored_bytes += len(self._corpus.records.raw(ordinal))
            if self._scored:
                self._scores.append(math.nan if passage.score is None else passage.score)
        self._counts.append(len(passages))

    def fragments(self) -> Iterator[bytes]:
        entry = 0
        for query, count in enumerate(self._counts):
            yield b", [" if query else b"["
            for place in range(count):
                encoded = json.dumps(self._entry(entry)).encode()
                yield b", " + encoded if place else encoded
                entry += 1
            yield b"]"

    def _entry(self, entry: int) -> dict[str, Any]:
        record = self._corpus.records[self._ordinals[entry]]
        passage = passage_of(record)
        document = {**record, "id": passage.id, "title": passage.title, "text": passage.text, "contents": contents_of(record)}
        if not self._scored:
            return document
        score = self._scores[entry]
        return {"document": document, "score": None if math.isnan(score) else score}


class Pages:
    """The pages at addresses, as the reply to `/access`.

    Args:
        corpus: source of the pages.
        urls: their addresses.
    """

    def __init__(self, corpus: Corpus, urls: list[str]) -> None:
        self._corpus, self._urls = corpus, urls
        self.stored_bytes = sum(len(corpus.records.raw(ordinal)) for url in urls for ordinal in corpus.ordinals_of(url))
        self.held_bytes = sum(map(len, urls))

    def fragments(self) -> Iterator[bytes]:
        for place, url in enumerate(self._urls):
            page = self._corpus.page(url)
            shown = {"url": page.url, "title": page.title, "contents": f'"{page.title}"\n{page.text}'} if page else None
            encoded = json.dumps(shown).encode()
            yield b", " + encoded if place else encoded


def pieces(fragments: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the reply with these members of its list, in pieces; at least one."""
    piece = bytearray(b'{"result": [')
    for fragment in fragments:
        piece += fragment
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")
