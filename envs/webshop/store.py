"""The product store: all products of a catalogue in one SQLite file, which all processes read through the page cache.

Rules:
    - An ordinal is a product's position in the catalogue, counted from 0 over the products that were kept.
    - The file is opened read-only and read through the system's page cache, so an additional process costs almost nothing; every
      thread of every process has its own connection, because SQLite connections can't be shared or used after a fork.
    - A finished store never changes; products read from it are immutable, and the latest ones are cached.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from empg_gym.envs.webshop.product import Product
from empg_gym.errors import DataError

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
        self._local = threading.local()
        self._product = lru_cache(maxsize=KEPT)(self._read)
        self._ordinal = lru_cache(maxsize=4 * KEPT)(self._look_up)
        try:
            self._size = int(self._db().execute("SELECT coalesce(max(ordinal) + 1, 0) FROM products").fetchone()[0])
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is not a product store ({error}); remove the folder {path.parent} and try again") from error

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        db.execute("PRAGMA cache_size = -1024")
        return db

    def _db(self) -> sqlite3.Connection:
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process, self._local.db = os.getpid(), self._open()
        connection: sqlite3.Connection = self._local.db
        return connection

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, ordinal: int) -> Product:
        """Return the product at `ordinal`.

        Raises:
            IndexError: there is no such product.
        """
        return self._product(ordinal)

    def _read(self, ordinal: int) -> Product:
        row = self._db().execute("SELECT record FROM products WHERE ordinal = ?", (ordinal,)).fetchone()
        if row is None:
            raise IndexError(ordinal)
        return Product.from_json(row[0])

    def ordinal(self, asin: str) -> int | None:
        """Return the ordinal of a product, or None."""
        return self._ordinal(asin)

    def _look_up(self, asin: str) -> int | None:
        row = self._db().execute("SELECT ordinal FROM products WHERE asin = ?", (asin,)).fetchone()
        return None if row is None else int(row[0])

    def __iter__(self) -> Iterator[Product]:
        db = self._open()
        for (record,) in db.execute("SELECT record FROM products ORDER BY ordinal"):
            yield Product.from_json(record)
        db.close()

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
            return [ordinal for (ordinal,) in self._db().execute(statement, (value,))]
        except UnicodeEncodeError:  # no product contains the lone surrogates of an agent's text
            return []

    def __reduce__(self) -> tuple[type[ProductStore], tuple[Path]]:
        return ProductStore, (self._path,)
