"""Write a BM25 index in two passes, with memory bounded by the vocabulary and the ids.

Files of an index (NumPy arrays, memory-mapped by every reader):
    meta.json              format, analyzer, k1, b, counts, fingerprint
    terms.*                the vocabulary in the order of its bytes (`strings`)
    ids.*                  ids of the passages in the order given, and their order by bytes
    starts (T+1,)          where the postings of each term begin
    passages (P,)          ordinal of each posting, ascending within a term
    codes (P,)             row of `saturation` of each posting
    saturation (C,)        1 + tf * c for each pair of frequency and length byte that occurs
    peaks (T,)             highest saturation of each term
    ranks (N,)             place of each passage in the order of ids

Pass 1 analyses batches (`invert`), numbers the terms and appends the postings to a temporary file; pass 2 writes each batch's postings to
their final positions. The files depend only on the documents, k1 and b.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empg_gym.retrieval import analyzer
from empg_gym.retrieval.invert import Batch, inverted
from empg_gym.retrieval.similarity import inverse_norms, length_codes
from empg_gym.retrieval.strings import write_order, write_strings

FORMAT = 1
"""Version of the file format."""

_BATCH_TEXTS = 2000
_BATCH_CHARACTERS = 4_000_000


class _Builder:
    def __init__(self, folder: Path, k1: float, b: float) -> None:
        self.folder = folder
        self.k1, self.b = k1, b
        self.ids: list[bytes] = []
        self.hash = hashlib.sha256(f"{analyzer.VERSION} {k1!r} {b!r}".encode())
        self.numbers: dict[str, int] = {}
        self.counts = np.zeros(1 << 16, dtype=np.int64)
        self.pairs: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.lengths: list[NDArray[np.int64]] = []
        self.run = folder / "run"

    def batches(self, documents: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
        texts: list[str] = []
        size = 0
        for name, text in documents:
            raw_id = name.encode("utf-8", "surrogatepass")
            raw_text = text.encode("utf-8", "surrogatepass")
            self.ids.append(raw_id)
            self.hash.update(b"%d %d " % (len(raw_id), len(raw_text)) + raw_id + raw_text)
            texts.append(text)
            size += len(text)
            if len(texts) == _BATCH_TEXTS or size >= _BATCH_CHARACTERS:
                yield texts
                texts, size = [], 0
        if texts:
            yield texts

    def collect(self, batches: Iterator[Batch], progress: Callable[[int], None] | None) -> None:
        """Pass 1: append each batch to the temporary file, with the index's term numbers."""
        done = 0
        with self.run.open("wb") as run:
            for batch in batches:
                terms = np.fromiter((self.numbers.setdefault(term, len(self.numbers)) for term in batch.terms), np.int64)
                if len(self.numbers) > len(self.counts):
                    self.counts = np.concatenate([self.counts, np.zeros(len(self.numbers), dtype=np.int64)])
                self.counts[terms] += batch.counts
                pairs = batch.frequencies.astype(np.int64) << 8 | length_codes(batch.lengths)[batch.passages]
                self.pairs = np.union1d(self.pairs, pairs)
                for part in (terms, batch.counts, batch.passages + np.int32(done), pairs):
                    np.save(run, part)
                self.lengths.append(batch.lengths)
                done += len(batch.lengths)
                if progress:
                    progress(done)

    def write(self) -> dict[str, Any]:
        """Pass 2: write the files of the index; return the content of `meta.json`."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *self.lengths])
        filled = int(np.count_nonzero(lengths))
        total = int(lengths.sum())
        order = np.asarray(sorted(range(len(self.numbers)), key=list(self.numbers).__getitem__), dtype=np.int64)
        self._write_terms(order)
        counts = self.counts[: len(order)]
        starts = np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64)
        np.save(self.folder / "starts.npy", starts)
        norms = inverse_norms(self.k1, self.b, total / filled if filled else 1.0)
        saturation = np.float32(1) + (self.pairs >> 8).astype(np.float32) * norms[self.pairs & 255]
        np.save(self.folder / "saturation.npy", saturation)
        np.save(self.folder / "peaks.npy", self._place(order, starts, saturation)[order])
        self._write_ids()
        return {
            "format": FORMAT,
            "analyzer": analyzer.VERSION,
            "k1": self.k1,
            "b": self.b,
            "passages": len(lengths),
            "filled": filled,
            "tokens": total,
            "terms": len(order),
            "postings": int(starts[-1]),
            "fingerprint": self.hash.hexdigest()[:16],
        }

    def _write_terms(self, order: NDArray[np.int64]) -> None:
        terms = list(self.numbers)
        write_strings(self.folder, "terms", (terms[number].encode("utf-8", "surrogatepass") for number in order.tolist()))

    def _place(self, order: NDArray[np.int64], starts: NDArray[np.int64], saturation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write passages and codes; return the peak of each term, by number."""
        size = int(starts[-1])
        narrow = np.min_scalar_type(len(saturation))
        passages = np.lib.format.open_memmap(self.folder / "passages.npy", "w+", np.int32, (size,))
        codes = np.lib.format.open_memmap(self.folder / "codes.npy", "w+", narrow, (size,))
        cursor = np.empty(len(order), dtype=np.int64)
        cursor[order] = starts[:-1]
        peaks = np.ones(len(order), dtype=np.float32)
        with self.run.open("rb") as run:
            for _ in self.lengths:
                terms, counts, rows, pairs = (np.load(run) for _ in range(4))
                if not len(terms):
                    continue
                firsts = np.cumsum(counts) - counts
                places = np.repeat(cursor[terms] - firsts, counts) + np.arange(len(rows))
                batch_codes = np.searchsorted(self.pairs, pairs)
                passages[places] = rows
                codes[places] = batch_codes
                cursor[terms] += counts
                peaks[terms] = np.maximum(peaks[terms], np.maximum.reduceat(saturation[batch_codes], firsts))
        passages.flush()
        codes.flush()
        self.run.unlink()
        return peaks

    def _write_ids(self) -> None:
        write_strings(self.folder, "ids", self.ids)
        order = write_order(self.folder, "ids", self.ids)
        ranks = np.empty(len(order), dtype=np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        np.save(self.folder / "ranks.npy", ranks)


def write_index(
    documents: Iterable[tuple[str, str]],
    folder: Path,
    *,
    k1: float,
    b: float,
    processes: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Write the files of an index into the existing, empty `folder`.

    Raises:
        DataError: two documents have the same id.
    """
    builder = _Builder(folder, k1, b)
    builder.collect(inverted(builder.batches(documents), processes), progress)
    meta = builder.write()
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
