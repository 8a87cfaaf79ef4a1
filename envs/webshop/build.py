"""Builds the store of a catalogue once, in the cache folder, and reuses it.

Rules:
    - A store's folder is named by a hash of its sources: the bytes of the official files, or version and size of the embedded world,
      with the versions of store, index and analyzer. It holds `products.sqlite`, `index/`, and one folder of goals for each kind and
      price seed.
    - It is built in `<name>.partial` and renamed when complete. An interrupted build resumes where it stopped: products are committed
      in batches, index and goals are written atomically.
    - Processes that start together wait on a lock; one builds, the others use the result.
    - Hashes of large files are cached by path, size and modification time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from empg_gym.cache import cache_root
from empg_gym.envs.webshop.goal_build import build_goals
from empg_gym.envs.webshop.official import MinedAttributes, OfficialFiles, find_files, read_products
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.progress import Progress, reporting
from empg_gym.envs.webshop.store import ProductStore, StoreWriter
from empg_gym.envs.webshop.world import catalogue
from empg_gym.errors import DataError
from empg_gym.retrieval import BM25Index, analyzer
from empg_gym.retrieval.build import FORMAT as INDEX_FORMAT
from empg_gym.retrieval.folders import build_once, locked

FORMAT = 2
"""Version of the store."""
BATCH = 2000
"""Number of products per commit."""


def stores() -> Path:
    """Return the folder of all stores."""
    return cache_root() / "webshop"


def open_store(data: Path | None, num_products: int | None, progress: Progress | None = None) -> Path:
    """Return the folder of a catalogue's store, building it if necessary.

    Args:
        data: folder of the official files; None for the embedded world.
        num_products: size of the embedded world, or number of records of the official file to keep; None for all.
        progress: callback for the progress of the build; None = a bar on the terminal.

    Raises:
        DataError: files are missing or damaged, or the cache folder is not writable.
    """
    if data is None:
        size = catalogue.DEFAULT_SIZE if num_products is None else num_products
        key = f"world {catalogue.VERSION} {size}"
        return _open(key, lambda writer, folder, report: _store_world(writer, size, report), progress)
    files = find_files(data)
    key = f"official {num_products} " + " ".join(_file_hash(path) for path in files.all)
    return _open(key, lambda writer, folder, report: _store_official(writer, files, folder, num_products, report), progress)


def open_goals(store: Path, kind: str, price_seed: int) -> Path:
    """Return the folder of a store's goals, building it if necessary.

    Args:
        store: folder of the store.
        kind: "synthetic" or "human".
        price_seed: seed of prices and price caps.
    """
    folder = store / f"{kind}-{price_seed}"
    if not folder.is_dir():
        products = ProductStore(store / "products.sqlite")
        build_once(folder, lambda target: build_goals(products, kind, price_seed, target))
    return folder


def _open(key: str, fill: Callable[[StoreWriter, Path, Progress], None], progress: Progress | None) -> Path:
    name = hashlib.sha256(f"{FORMAT} {INDEX_FORMAT} {analyzer.VERSION} {key}".encode()).hexdigest()[:16]
    folder = stores() / name
    if folder.is_dir():
        return folder
    with locked(stores() / f".{name}.lock"), reporting(progress) as report:
        if folder.is_dir():
            return folder
        partial = stores() / f"{name}.partial"
        partial.mkdir(exist_ok=True)
        products = partial / "products.sqlite"
        writer = StoreWriter(products)
        if writer.meta("complete") is None:
            fill(writer, partial, report)
            writer.finish()
            writer.append(0, [], {"complete": key})
        total = len(writer)
        writer.close()
        if not total:
            raise DataError("the catalogue has no products; pass data with at least one product, or num_products of at least 1")
        if not (partial / "index").is_dir():
            documents = ((product.asin, product.document) for product in ProductStore(products))
            BM25Index.build(documents, partial / "index", progress=lambda done: report("index", done, total))
        for leftover in partial.glob("mined.sqlite*"):
            leftover.unlink()
        partial.rename(folder)
    return folder


def _batches(items: Iterable[tuple[int, Product | None]]) -> Iterator[list[tuple[int, Product | None]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _append(writer: StoreWriter, ordinal: int, batch: list[tuple[int, Product | None]]) -> int:
    """Commit a batch and return the next ordinal."""
    kept = [product for _, product in batch if product is not None]
    writer.append(ordinal, kept, {"records": str(batch[-1][0] + 1)})
    return ordinal + len(kept)


def _store_world(writer: StoreWriter, size: int, report: Progress) -> None:
    ordinal = len(writer)
    for batch in _batches((number, catalogue.make_product(number)) for number in range(ordinal, size)):
        ordinal = _append(writer, ordinal, batch)
        report("products", ordinal, size)


def _store_official(writer: StoreWriter, files: OfficialFiles, folder: Path, limit: int | None, report: Progress) -> None:
    report("attributes", 0, None)
    mined = MinedAttributes(folder / "mined.sqlite", files.mined)
    records = int(writer.meta("records") or 0)
    ordinal = len(writer)
    found = read_products(files, mined, writer.asins(), records)
    # Upstream truncates the list of records before it skips any.
    kept = found if limit is None else islice(found, max(0, limit - records))
    for batch in _batches(kept):
        ordinal = _append(writer, ordinal, batch)
        report("products", ordinal, None)
    mined.close()


def _file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, cached by path, size and modification time."""
    stat = path.stat()
    mark = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    note = stores() / "hashes" / f"{hashlib.sha256(mark.encode()).hexdigest()[:24]}.json"
    try:
        known = json.loads(note.read_text())
        if known["of"] == mark:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with locked(note.with_suffix(".lock")):
        note.write_text(json.dumps({"of": mark, "sha256": digest}))
    return digest
