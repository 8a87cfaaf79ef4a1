"""A corpus: a file of passages, built once into a record store, an index and a table of addresses.

Accepted lines (JSON objects; plain or gzip, `.gz`):
    {"id": "0", "contents": "\"Title\"\ntext"}                     wiki-18, as in Search-R1 and FlashRAG
    {"id": "0", "title": "Title", "text": "text", "url": "…"}      title and url are optional
Other members are kept and served, but not indexed.

Rules:
    - The indexed text is `contents`, or the title in quotes, a new line and the text: the same string for both forms.
    - A corpus is cached under a hash of the file's bytes; the hash is cached by path, size and modification time.
    - `page(url)` joins the passages that share an address, in the order of the file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from empg_gym.cache import cache_root
from empg_gym.errors import DataError
from empg_gym.retrieval import analyzer
from empg_gym.retrieval.bm25 import BM25Index
from empg_gym.retrieval.documents import DocumentStore
from empg_gym.retrieval.folders import build_once
from empg_gym.retrieval.strings import StringTable, write_order, write_strings
from empg_gym.runs.atomic_write import atomic_write


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text in a corpus or a search result.

    Example: Passage(id="7", title="Alû", text="Alû is a demon …", url="https://…", score=12.5)
    """

    id: str
    title: str
    text: str
    url: str = ""
    score: float | None = None
    """Score from the engine, or None if it doesn't provide scores. Not comparable between engines."""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page, as text."""

    url: str
    title: str
    text: str


class Corpus:
    """An opened corpus, created by `open_corpus` or `build_corpus`. Cheap to pickle (unpickling opens it again).

    Args:
        folder: a folder written by `build_corpus`.

    Raises:
        DataError: the folder is not a corpus, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.index = BM25Index.open(self.folder / "index")
        self.records = DocumentStore.open(self.folder / "records")
        self._urls = StringTable(self.folder, "urls")

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        return Corpus, (self.folder,)

    @property
    def fingerprint(self) -> str:
        """Short hash of the passages and the index settings."""
        return hashlib.sha256(f"{self.index.fingerprint} {self.records.fingerprint}".encode()).hexdigest()[:16]

    def passage(self, ordinal: int, score: float | None = None) -> Passage:
        """Return the passage at `ordinal`, with the given score.

        Raises:
            IndexError: there is no such passage.
        """
        return passage_of(self.records[ordinal], score)

    def find(self, name: str) -> Passage | None:
        """Return the passage with the id `name`, or None."""
        ordinal = self.records.ordinal(name)
        return None if ordinal is None else self.passage(ordinal)

    def ordinals_of(self, url: str) -> Iterator[int]:
        """Yield the ordinals of the passages with the address `url`, in the order of the file."""
        return self._urls.find_all(url.encode("utf-8", "surrogatepass")) if url else iter(())

    def page(self, url: str) -> Page | None:
        """Return all passages with the address `url` as one page, or None."""
        parts = [self.passage(ordinal) for ordinal in self.ordinals_of(url)]
        if not parts:
            return None
        return Page(url=url, title=parts[0].title, text="\n\n".join(part.text for part in parts))


def passage_of(record: dict[str, Any], score: float | None = None) -> Passage:
    """Return the passage in a record of either form; absent members become empty."""
    contents = str(record.get("contents") or "")
    first, _, rest = contents.partition("\n")
    title = record.get("title")
    text = record.get("text")
    return Passage(
        id=str(record.get("id", "")),
        title=str(title) if title is not None else first.strip().strip('"'),
        text=str(text) if text is not None else rest,
        url=str(record.get("url") or ""),
        score=score,
    )


def contents_of(record: dict[str, Any]) -> str:
    """Return the text of a record that is indexed and shown to Search-R1 clients: title in quotes, new line, text."""
    if record.get("contents") is not None:
        return str(record["contents"])
    return f'"{record.get("title") or ""}"\n{record.get("text") or ""}'


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a corpus file unchanged, after checking each.

    Raises:
        DataError: the file can't be read, or a line is not a passage; the message names the line.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    _check(line, path, number)
                    yield line
    except (OSError, EOFError) as error:
        raise DataError(f"can't read the corpus {path}: {error}") from error


def _check(line: bytes, path: Path, number: int) -> None:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not JSON ({error}); expected one passage per line") from None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str | int):
        raise DataError(f"{path}, line {number}: a passage must be a JSON object with an id; got {line[:80]!r}")
    if record.get("contents") is None and record.get("text") is None:
        raise DataError(f"{path}, line {number}: a passage needs `contents` (wiki-18) or `text`; got the members {sorted(record)}")


def build_corpus(
    lines: Callable[[], Iterable[bytes | str]],
    folder: Path,
    *,
    k1: float = 0.9,
    b: float = 0.4,
    progress: Callable[[int], None] | None = None,
) -> Corpus:
    """Build a corpus from the JSON lines that `lines()` yields (called twice) into `folder`, unless it exists, and open it.

    Raises:
        DataError: a record is damaged or an id occurs twice.
    """

    def build(target: Path) -> None:
        records = DocumentStore.build(lines(), target / "records")
        BM25Index.build(((str(record["id"]), contents_of(record)) for record in records), target / "index", k1=k1, b=b, progress=progress)
        urls = [str(record.get("url") or "").encode("utf-8", "surrogatepass") for record in records]
        write_strings(target, "urls", urls)
        write_order(target, "urls", urls, distinct=False)

    if not folder.exists():
        build_once(folder, build)
    return Corpus(folder)


def open_corpus(
    path: Path | str,
    *,
    cache: Path | None = None,
    k1: float = 0.9,
    b: float = 0.4,
    progress: Callable[[int], None] | None = None,
) -> Corpus:
    """Open the corpus file `path`, building it into the cache the first time.

    Args:
        path: JSON lines, see the module docstring.
        cache: folder for built corpora; None = `corpora` in EMPG Gym's cache folder.
        k1: BM25's saturation of the term frequency.
        b: BM25's length normalisation.
        progress: called from time to time while the index is built, with the number of passages done.

    Raises:
        DataError: the file is missing or damaged; the message names the line.
    """
    source = Path(path)
    root = cache if cache is not None else cache_root() / "corpora"
    if not source.is_file():
        raise DataError(f"the corpus file {source} does not exist; expected JSON lines with id, and contents or title and text")
    key = hashlib.sha256(f"{_content_hash(source, root)} {analyzer.VERSION} {k1!r} {b!r}".encode()).hexdigest()[:24]
    return build_corpus(partial(read_lines, source), root / key, k1=k1, b=b, progress=progress)


def _content_hash(path: Path, root: Path) -> str:
    status = path.stat()
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    memo = root / "hashes" / f"{name}.json"
    state = [status.st_size, status.st_mtime_ns]
    try:
        known = json.loads(memo.read_text())
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(memo, json.dumps({"state": state, "sha256": digest}))
    except OSError as error:
        raise DataError(f"can't write to the cache {root}: {error.strerror}; set EMPG_GYM_CACHE to a writable folder") from error
    return digest
