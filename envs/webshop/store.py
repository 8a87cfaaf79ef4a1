"""The product store: all products of a catalogue in one SQLite file, which all processes read through the page cache.

Rules:
    - An ordinal is a product's position in the catalogue, counted from 0 over the products that were kept.
    - The file is opened read-only and read through the system's page cache, so an additional process costs almost nothing; every
      thread of every process has its own connection, because SQLite connections can't be shared or used after a fork.
    - A finished store never changes; products read from it are immutable, and the latest ones are cached.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from empg_gym.envs.webshop.product import Product
from empg_gym.errors import DataError
from empg_gym.retrieval.damaged import damaged

SCHEMA = """
CREATE TABLE IF NOT EXISTS products
    (ordinal INTEGER PRIMARY KEY, asin TEXT NOT NULL UNIQUE, category TEXT, query TEXT, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attributes (attribute TEXT, ordinal INTEGER, PRIMARY KEY (attribute, ordinal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
KEPT = 1024
"""Number of products cached by a process, about 5 kB each."""


class StoreWriter:
    """Appends products to a store under construction; committed products survive a crash.

    Args:
        path: the SQLite file, new or from an interrupted build.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.executescript(SCHEMA)

    def meta(self, key: str) -> str | None:
        """Return a note written by the builder, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def __len__(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(ordinal) + 1, 0) FROM products").fetchone()[0])

    def asins(self) -> set[str]:
        """Return the asins stored so far."""
        return {asin for (asin,) in self._db.execute("SELECT asin FROM products")}

    def append(self, first: int, products: Iterable[Product], notes: dict[str, str]) -> None:
        """Store `products` with ordinals from `first`, together with `notes`, in one transaction."""
        rows = list(products)
        with self._db:
            self._db.executemany(
                "INSERT INTO products VALUES (?, ?, ?, ?, ?)",
                ((first + i, p.asin, p.category, p.query, p.to_json()) for i, p in enumerate(rows)),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO attributes VALUES (?, ?)",
                ((attribute, first + i) for i, p in enumerate(rows) for attribute in p.attributes),
            )
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes.items())

    def finish(self) -> None:
        """Create the indexes for reading."""
        with self._db:
            self._db.execute("CREATE INDEX IF NOT EXISTS by_category ON products (category, ordinal)")
            self._db.execute("CREATE INDEX IF NOT EXISTS by_query ON products (query, ordinal)")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class _Held:
    """A connection that is closed when its thread or its reader is gone: by itself, it waits for the collector."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class _Reader:
    """The connections to a store: one for each thread of each process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def open(self) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        db.execute("PRAGMA cache_size = -1024")
        return db

    def db(self) -> sqlite3.Connection:
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process, self._local.held = os.getpid(), _Held(self.open())
        held: _Held = self._local.held
        return held.db

    def product(self, ordinal: int) -> Product:
        row = self.db().execute("SELECT record FROM products WHERE ordinal = ?", (ordinal,)).fetchone()
        if row is None:
            raise IndexError(ordinal)
        return Product.from_json(row[0])

    def ordinal(self, asin: str) -> int | None:
        row = self.db().execute("SELECT ordinal FROM products WHERE asin = ?", (asin,)).fetchone()
        return None if row is None else int(row[0])


class ProductStore:
    """Read access to a finished store.

    Args:
        path: the SQLite file.

    Raises:
        DataError: the file is missing or not a store.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"no product store at {path}; open the catalogue again to build it")
        self._path = path
        self._reader = reader = _Reader(path)
        # The caches don't refer to this object, so that its files are closed as soon as nobody uses it.
        self._product = lru_cache(maxsize=KEPT)(reader.product)
        self._ordinal = lru_cache(maxsize=4 * KEPT)(reader.ordinal)
        try:
            self._size = int(reader.db().execute("SELECT coalesce(max(ordinal) + 1, 0) FROM products").fetchone()[0])
        except sqlite3.DatabaseError as error:
            raise damaged(path, error, f"remove the folder {path.parent} and try again", what="not a product store") from error

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, ordinal: int) -> Product:
        """Return the product at `ordinal`.

        Raises:
            IndexError: there is no such product.
        """
        return self._product(ordinal)

    def ordinal(self, asin: str) -> int | None:
        """Return the ordinal of a product, or None."""
        return self._ordinal(asin)

    def __iter__(self) -> Iterator[Product]:
        db = self._reader.open()
        with contextlib.closing(db):
            for (record,) in db.execute("SELECT record FROM products ORDER BY ordinal"):
                yield Product.from_json(record)

    def with_category(self, category: str) -> list[int]:
        """Return the ordinals of a category's products, ascending."""
        return self._ordinals("SELECT ordinal FROM products WHERE category = ? ORDER BY ordinal", category)

    def with_query(self, query: str) -> list[int]:
        """Return the ordinals of the products found by a search phrase, ascending."""
        return self._ordinals("SELECT ordinal FROM products WHERE query = ? ORDER BY ordinal", query)

    def with_attribute(self, attribute: str) -> list[int]:
        """Return the ordinals of the products that have an attribute, ascending."""
        return self._ordinals("SELECT ordinal FROM attributes WHERE attribute = ? ORDER BY ordinal", attribute)

    def _ordinals(self, statement: str, value: str) -> list[int]:
        try:
            return [ordinal for (ordinal,) in self._reader.db().execute(statement, (value,))]
        except UnicodeEncodeError:  # no product contains the lone surrogates of an agent's text
            return []

    def __reduce__(self) -> tuple[type[ProductStore], tuple[Path]]:
        return ProductStore, (self._path,)
