"""The official files of WebShop: finding them in a folder and reading their products one by one.

Rules:
    - `items_shuffle*.json` (products), `items_ins_v2*.json` (mined attributes, synthetic instructions) and `items_human_ins*.json`
      (human instructions; optional). Of several matches, the one whose name is exactly the stem is used, else the largest.
    - Products whose asin is "nan", longer than 10 characters or a duplicate are skipped.
    - A record that can't be read raises an error that names file, record and asin.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.envs.fetched import fetched
from empg_gym.envs.webshop.jsonstream import read_array, read_object
from empg_gym.envs.webshop.product import Product, parse_product
from empg_gym.errors import ConfigError, DataError

LONGEST_ASIN = 10


@dataclass(frozen=True)
class OfficialFiles:
    """The files of a data folder."""

    products: Path
    mined: Path
    human: Path | None

    @property
    def all(self) -> list[Path]:
        """The files that exist."""
        return [path for path in (self.products, self.mined, self.human) if path is not None]


def official_folder() -> Path:
    """Return the folder of the downloaded set.

    Raises:
        ConfigError: no set has been downloaded, or both have: the choice would change the result.
    """
    sets = fetched(("webshop-small", "webshop-full"))
    if len(sets) == 1:
        return next(iter(sets.values()))
    if sets:
        known = ", ".join(f"data={str(folder)!r} ({name})" for name, folder in sets.items())
        raise ConfigError(f"data='official' is ambiguous: {len(sets)} sets have been downloaded; choose one: {known}")
    raise ConfigError("data='official' found no WebShop; run `empg-gym data get webshop-small` (or webshop-full), or pass data=PATH")


def find_files(folder: Path) -> OfficialFiles:
    """Find the official files.

    Raises:
        DataError: a required file is missing.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; pass the folder that holds items_shuffle*.json, or data=None")
    found: dict[str, Path | None] = {}
    for stem, needed in (("items_shuffle", True), ("items_ins_v2", True), ("items_human_ins", False)):
        candidates = list(folder.glob(f"{stem}*.json"))
        exact = [path for path in candidates if path.name == f"{stem}.json"]
        largest = sorted(candidates, key=lambda path: (-path.stat().st_size, path.name))
        if needed and not candidates:
            raise DataError(f"{folder} has no {stem}*.json; it must hold items_shuffle*.json and items_ins_v2*.json of WebShop")
        found[stem] = next(iter(exact or largest), None)
    products, mined = found["items_shuffle"], found["items_ins_v2"]
    assert products is not None
    assert mined is not None
    return OfficialFiles(products, mined, found["items_human_ins"])


class MinedAttributes:
    """The mined attributes by asin, in a temporary SQLite file during the build: the full file doesn't fit in memory.

    Args:
        path: file to write, or to resume.
        source: `items_ins_v2*.json`.
    """

    def __init__(self, path: Path, source: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("CREATE TABLE IF NOT EXISTS mined (asin TEXT PRIMARY KEY, entry TEXT) WITHOUT ROWID")
        self._db.execute("CREATE TABLE IF NOT EXISTS complete (yes INTEGER)")
        if self._db.execute("SELECT count(*) FROM complete").fetchone()[0]:
            return
        with self._db:
            self._db.execute("DELETE FROM mined")
            self._db.executemany(
                "INSERT OR REPLACE INTO mined VALUES (?, ?)", ((asin, json.dumps(entry)) for asin, entry in read_object(source))
            )
            self._db.execute("INSERT INTO complete VALUES (1)")

    def __getitem__(self, asin: str) -> dict[str, Any] | None:
        """Return the entry of a product, or None."""
        row = self._db.execute("SELECT entry FROM mined WHERE asin = ?", (asin,)).fetchone()
        return None if row is None else json.loads(row[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def read_products(files: OfficialFiles, mined: MinedAttributes, seen: set[str], start: int) -> Iterator[tuple[int, Product | None]]:
    """Yield (record number, product) from record `start`; the product is None if the record is skipped.

    Args:
        files: the official files.
        mined: attributes by asin.
        seen: asins of the products before `start`; extended in place.
        start: number of records that have been read already.

    Raises:
        DataError: a file is damaged, or a record lacks a required field.
    """
    human = {} if files.human is None else dict(read_object(files.human))
    for number, record in enumerate(read_array(files.products)):
        if number < start:
            continue
        asin = record.get("asin") if isinstance(record, dict) else None
        if not isinstance(asin, str):
            raise DataError(f"{files.products.name}, record {number}: expected a product with an 'asin', found {str(record)[:60]!r}")
        if asin == "nan" or len(asin) > LONGEST_ASIN or asin in seen:
            yield number, None
            continue
        seen.add(asin)
        try:
            yield number, parse_product(record, mined[asin], human.get(asin))
        except (KeyError, TypeError, AttributeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else f"has a field of the wrong type ({error})"
            raise DataError(f"{files.products.name}, record {number} (asin {asin}) {what}; download the file again") from error
