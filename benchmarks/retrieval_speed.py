"""Speed and memory of the retrieval core, side by side with bm25s and tantivy over the same passages, terms and queries.

    python -m benchmarks.retrieval_speed [--sizes 100000 1000000] [--folder DIR] [--only ENGINE …]

Every build, query run and memory reading runs in its own process; query processes are pinned to one core. A query is measured end to end:
text in, ten passages with their texts out (`retriever`); for our index also with ids and scores only (`index`).
Agreement with Lucene is measured on the 947 queries of the WebShop reference data, if available.
Writes benchmarks/results/retrieval_speed.json; engines and sizes that are not measured keep their previous entries.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.retrieval_data import write
from empg_gym.retrieval import BM25Index, Corpus, build_corpus, open_corpus
from empg_gym.retrieval.backends import local_retriever
from empg_gym.retrieval.corpus import contents_of

ENGINES = ("bm25", "tantivy", "bm25s")
RESULT = Path(__file__).parent / "results" / "retrieval_speed.json"
K = 10
WORKERS = 4
JOB_SECONDS = 1200


def corpus_of(folder: Path) -> Corpus:
    return open_corpus(folder / "corpus.jsonl", cache=folder / "cache")


def size_mb(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def build(engine: str, folder: Path) -> dict[str, Any]:
    """Build the index of `engine`; for ours also the whole corpus, with one process and with the default number."""
    found: dict[str, Any] = {}
    if engine != "bm25":
        corpus = corpus_of(folder)
        before = set(corpus.folder.iterdir())
        start, cpu = time.perf_counter(), time.process_time()
        local_retriever(engine, corpus)
        found = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, "passages": len(corpus)}
        found["index_mb"] = sum(size_mb(path) for path in set(corpus.folder.iterdir()) - before if path.is_dir())
    else:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name, processes in (("one_process", 1), ("default", None)):
                with (folder / "corpus.jsonl").open() as lines:
                    records = map(json.loads, lines)
                    documents = ((record["id"], contents_of(record)) for record in records)
                    start = time.perf_counter()
                    index = BM25Index.build(documents, Path(scratch) / name, processes=processes)
                    seconds = time.perf_counter() - start
                found[f"seconds_{name}"] = seconds
                found[f"passages_per_second_{name}"] = round(len(index) / seconds)
            found["seconds"] = found["seconds_default"]
            found["passages"] = len(index)
            found["index_mb"] = size_mb(index.folder)
        start = time.perf_counter()
        corpus_of(folder)
        found["corpus_seconds"] = time.perf_counter() - start
    found["passages_per_second"] = round(found["passages"] / found["seconds"])
    # Not ru_maxrss, which a process inherits from its parent.
    status = Path("/proc/self/status").read_text().splitlines()
    found["peak_rss_mb"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) // 1024
    return found


def timed(search: Callable[[str], Any], queries: list[str]) -> dict[str, float]:
    """Return milliseconds per query: the first pass in a fresh process, then a second pass."""
    found = {}
    for name in ("first", "warm"):
        spent, cpu = [], time.process_time()
        for query in queries:
            start = time.perf_counter()
            search(query)
            spent.append((time.perf_counter() - start) * 1e3)
        found[f"{name}_p50_ms"] = float(np.percentile(spent, 50))
        if name == "warm":
            found |= {f"warm_p{q}_ms": float(np.percentile(spent, q)) for q in (95, 99)}
            found |= {"warm_mean_ms": float(np.mean(spent)), "warm_cpu_mean_ms": (time.process_time() - cpu) * 1e3 / len(queries)}
    return found


def query(engine: str, folder: Path) -> dict[str, Any]:
    """Time the queries on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    queries = json.loads((folder / "queries.json").read_text())
    start = time.perf_counter()
    corpus = corpus_of(folder)
    retriever = local_retriever(engine, corpus)
    found: dict[str, Any] = {"open_ms": (time.perf_counter() - start) * 1e3, "queries": len(queries), "k": K}
    found["retriever"] = timed(lambda text: retriever.search([text], K), queries)
    if engine == "bm25":
        found["index"] = timed(lambda text: corpus.index.search(text, K), queries)
        found["index_k50"] = timed(lambda text: corpus.index.search(text, 50), queries)
    return found


def hold(engine: str, folder: Path) -> None:
    """Run a worker: open the index, answer all queries, report it and wait to be ended. Engine "none" only imports."""
    if engine != "none":
        retriever = local_retriever(engine, corpus_of(folder))
        for text in json.loads((folder / "queries.json").read_text()):
            retriever.search([text], K)
    print("ready", flush=True)
    sys.stdin.read()


def memory(engine: str, folder: Path) -> dict[str, float]:
    """Return the proportional set size of one worker and the addition of each further one."""
    command = [sys.executable, "-m", "benchmarks.retrieval_speed", "--job", "hold", engine, str(folder)]
    workers: list[subprocess.Popen[str]] = []
    totals = []
    try:
        for _ in range(WORKERS):
            workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert workers[-1].stdout is not None and workers[-1].stdout.readline() == "ready\n"
            totals.append(sum(pss_mb(worker.pid) for worker in workers))
    finally:
        for worker in workers:
            worker.communicate()
    return {"first_worker_pss_mb": round(totals[0], 1), "further_worker_pss_mb": round((totals[-1] - totals[0]) / (WORKERS - 1), 1)}


def pss_mb(pid: int) -> float:
    rows = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


def lucene() -> dict[str, Any] | None:
    """Return the agreement with Anserini's rankings for the 947 reference queries over 1,000 products."""
    root = Path(os.environ.get("EMPG_REFERENCE_DATA") or Path(__file__).parents[2] / "shared" / "data") / "webshop" / "lucene_reference"
    if not root.is_dir():
        return None
    with gzip.open(root / "documents_1k.jsonl.gz", "rt") as handle:
        lines = [json.dumps({key: record[key] for key in ("id", "contents")}) for record in map(json.loads, handle)]
    with gzip.open(root / "bm25_top50.jsonl.gz", "rt") as handle:
        searches = [json.loads(line) for line in handle]
    wanted = [[name for name, _ in search["hits"]] for search in searches]
    found: dict[str, Any] = {"queries": len(wanted), "queries_with_hits": sum(map(bool, wanted))}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = build_corpus(lambda: lines, Path(scratch) / "corpus")
        for engine in ENGINES:
            lists = local_retriever(engine, corpus).search([search["q"] for search in searches], 50)
            pairs = [([passage.id for passage in got], names) for got, names in zip(lists, wanted, strict=True)]
            answered = [(got, names) for got, names in pairs if names]
            found[engine] = {
                "overlap_at_10": np.mean([len(set(got[:10]) & set(names[:10])) / len(names[:10]) for got, names in answered]),
                "overlap_at_50": np.mean([len(set(got) & set(names)) / len(names) for got, names in answered]),
                "same_first": np.mean([got[:1] == names[:1] for got, names in answered]),
                "identical_50": np.mean([got == names for got, names in pairs]),
            }
    return found


def job(name: str, engine: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.retrieval_speed", "--job", name, engine, str(folder)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=JOB_SECONDS)
    except subprocess.TimeoutExpired:
        return {"stopped_after_seconds": JOB_SECONDS}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.job:
        name, engine, path = arguments.job
        result = {"build": build, "query": query, "memory": memory, "hold": hold}[name](engine, Path(path))
        if result is not None:
            print(json.dumps(rounded(result)))
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="retrieval-speed-"))
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    sizes: dict[str, Any] = known.get("sizes", {})
    for size in arguments.sizes:
        place = folder / str(size)
        if not (place / "queries.json").exists():
            write(place, size)
        row = sizes.setdefault(str(size), {})
        row["import_only"] = {"memory": memory("none", place)}
        for engine in arguments.only:
            entry = row[engine] = {"build": job("build", engine, place)}
            if "stopped_after_seconds" not in entry["build"]:
                entry |= {"query": job("query", engine, place), "memory": memory(engine, place)}
            print(size, engine, json.dumps(rounded(entry)), flush=True)
            save(sizes, known.get("lucene"))
    save(sizes, lucene() or known.get("lucene"))


def save(sizes: dict[str, Any], agreement: Any) -> None:
    result = {
        "what": "BM25 over generated Zipf passages (about 85 words); k = 10; one core for queries; see the module's docstring",
        "notes": "Other work ran on the same two cores: medians and CPU means are firmer than tails and wall times of builds.",
        "machine": machine("numpy", "regex", "bm25s", "tantivy"),
        "targets": {"p50_ms_100000": 2.0, "p50_ms_1000000": 20.0},
        "sizes": sizes,
        "ratios": {size: ratios(row) for size, row in sizes.items()},
        "lucene": agreement,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rounded(result), indent=1) + "\n")


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Return the times of the other engines relative to ours: query p50 and build."""
    own = row.get("bm25", {})
    found = {}
    for engine in ("bm25s", "tantivy"):
        other = row.get(engine, {})
        if "query" in own and "query" in other:
            found[f"{engine}_p50"] = other["query"]["retriever"]["warm_p50_ms"] / own["query"]["retriever"]["warm_p50_ms"]
            found[f"{engine}_build"] = other["build"]["seconds"] / own["build"]["seconds"]
    return found


if __name__ == "__main__":
    main()
