"""Compare our ranking of the Deep Search reference corpus with that of Lucene itself, on every query of the reference data.

    pip download --no-deps pyserini==0.22.1 && unzip -j pyserini-*.whl '*.jar'     (Anserini with Lucene 9.5; needs Java 11 or newer)
    python -m benchmarks.retrieval_lucene anserini-0.22.1-fatjar.jar

Queries: all questions of all sets, and the titles of all 9,002 passages, which include every gold passage of every question on this corpus.
Where the lists of ids are equal, so is every recall computed from them.
Writes benchmarks/results/retrieval_lucene.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.retrieval_recall import RECALL_AT, TABLE, TITLE_AT, figures, gold_titles, questions
from empg_gym.retrieval import open_corpus

RESULT = Path(__file__).parent / "results" / "retrieval_lucene.json"
K = 50
WHITE = re.compile(r"\s+")
OTHERS = ("hotpotqa_dev_qa_only", "2wiki_dev_qa_only", "musique_dev_qa_only", "bamboogle", "webwalkerqa", "nq_sample")


def lucene(jar: Path, folder: Path, passages: Path, queries: list[str]) -> list[list[str]]:
    """Return Lucene's first 50 ids for each query (Anserini's defaults: English analyzer, BM25 with k1=0.9 and b=0.4)."""
    (folder / "documents").mkdir()
    with passages.open() as lines, (folder / "documents" / "all.jsonl").open("w") as out:
        for record in map(json.loads, lines):
            out.write(json.dumps({key: record[key] for key in ("id", "contents")}) + "\n")
    topics = folder / "topics.tsv"
    topics.write_text("".join(f"{number}\t{WHITE.sub(' ', query)}\n" for number, query in enumerate(queries)))
    java = ["java", "-Xmx2g", "-cp", str(jar)]
    index = [*java, "io.anserini.index.IndexCollection", "-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator"]
    index += ["-threads", "1", "-input", str(folder / "documents"), "-index", str(folder / "index")]
    search = [*java, "io.anserini.search.SearchCollection", "-topicreader", "TsvString", "-bm25", "-hits", str(K)]
    search += ["-index", str(folder / "index"), "-topics", str(topics), "-output", str(folder / "run.txt")]
    for command in (index, search):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: list[list[str]] = [[] for _ in queries]
    for line in (folder / "run.txt").read_text().splitlines():
        number, _, name, *_ = line.split()
        found[int(number)].append(name)
    return found


def agreement(pairs: list[tuple[list[str], list[str]]]) -> dict[str, Any]:
    """Return the agreement of our lists with Lucene's over all queries."""
    answered = [(mine, other) for mine, other in pairs if other]
    overlap = sum(len(set(mine[:10]) & set(other[:10])) / len(other[:10]) for mine, other in answered)
    return {
        "queries": len(pairs),
        "queries_with_hits": len(answered),
        "overlap_at_10": round(overlap / len(answered), 5),
        "same_first": sum(mine[:1] == other[:1] for mine, other in pairs),
        "identical_10": sum(mine[:10] == other[:10] for mine, other in pairs),
        "identical_50": sum(mine == other for mine, other in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jar", type=Path, help="Anserini's fat jar, which includes all dependencies")
    arguments = parser.parse_args()
    data = Path(os.environ.get("EMPG_REFERENCE_DATA") or Path(__file__).parents[2] / "shared" / "data") / "deepsearch"
    with tempfile.TemporaryDirectory() as scratch:
        corpus = open_corpus(data / "corpus.jsonl", cache=Path(scratch) / "cache")
        rows = {name: questions(data, name) for name in TABLE}
        sets = {name: [row["question"] for row in rows[name]] for name in TABLE}
        for name in OTHERS:
            sets[name] = [json.loads(line)["question"] for line in (data / f"{name}.jsonl").read_text().splitlines()]
        sets["titles of all passages"] = [corpus.passage(ordinal).title for ordinal in range(len(corpus))]
        everything = [query for queries in sets.values() for query in queries]
        theirs = dict(zip(everything, lucene(arguments.jar, Path(scratch), data / "corpus.jsonl", everything), strict=True))
        ours = {query: [hit.id for hit in corpus.index.search(query, K)] for query in everything}
        rankings = {"ours": ours, "lucene": theirs}
        result = {
            "what": "our BM25 beside Lucene's on the Deep Search reference corpus: lists of ids for all questions of the reference data "
            "and for the titles of all passages",
            "lucene": arguments.jar.name,
            "machine": machine("numpy", "regex"),
            "passages": len(corpus),
            "sets": {name: agreement([(ours[query], theirs[query]) for query in queries]) for name, queries in sets.items()},
            "recall_at": RECALL_AT,
            "title_at": TITLE_AT,
            "recall": {
                name: {engine: figures(rows[name], found, gold_titles(corpus, rows[name])) for engine, found in rankings.items()}
                for name in TABLE
            },
        }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["sets"], indent=1), json.dumps(result["recall"]))


if __name__ == "__main__":
    main()
