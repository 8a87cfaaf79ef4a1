"""Analyzer and ranking against Lucene itself: 1,000 term vectors and 947 queries of Anserini 0.14.3 with its defaults."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from empg_gym.retrieval import BM25Index, analyze
from tests.reference import reference_data


def rows(name):
    with gzip.open(reference_data("webshop") / "lucene_reference" / name, "rt", newline="\n") as handle:
        return handle.read().split("\n")[:-1]


@pytest.fixture(scope="module")
def documents():
    return [(row["id"], row["contents"]) for row in map(json.loads, rows("documents_1k.jsonl.gz"))]


@pytest.fixture(scope="module")
def searches():
    return [json.loads(row) for row in rows("bm25_top50.jsonl.gz")]


def test_analyzer_equals_all_term_vectors(documents):
    expected = {}
    for row in rows("term_vectors_1k.tsv.gz"):
        name, *terms = row.split("\t")
        expected[name] = Counter({term: int(count) for term, _, count in (entry.rpartition(":") for entry in terms if entry)})
    assert len(expected) == len(documents) == 1000
    different = [name for name, text in documents if Counter(analyze(text)) != expected[name]]
    assert different == []


def test_queries_are_analysed_as_lucene_does(searches):
    assert len(searches) == 947
    assert [search["q"] for search in searches if analyze(search["q"]) != search["tokens"]] == []


def test_all_queries_give_the_same_passages_in_the_same_order(documents, searches, tmp_path):
    index = BM25Index.build(documents, tmp_path / "index")
    compared = 0
    for search in searches:
        hits = index.search(search["q"], 50)
        assert [hit.id for hit in hits] == [name for name, _ in search["hits"]], search["q"]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in search["hits"]], abs=6e-5)  # printed to 4 decimals
        compared += len(hits)
    assert compared > 44_000


def test_shorter_lists_are_the_beginnings_of_longer_ones(documents, searches, tmp_path):
    """A small k prunes far more than k = 50 does."""
    index = BM25Index.build(documents, tmp_path / "index")
    for search in searches[::3]:
        assert [hit.id for hit in index.search(search["q"], 3)] == [name for name, _ in search["hits"][:3]]
