"""The index against a plain scorer that knows nothing of pruning, blocks or files."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.retrieval import BM25Index, analyze
from empg_gym.retrieval.similarity import LENGTHS, length_codes
from empg_gym.retrieval.topk import _kth

F = np.float32


def plain_search(documents, query, k, k1=0.9, b=0.4):
    """BM25 by the formula of the spec, one passage at a time."""
    bags = [(name, Counter(analyze(text))) for name, text in documents]
    lengths = [sum(bag.values()) for _, bag in bags]
    filled = sum(length > 0 for length in lengths)
    average = F(sum(lengths) / filled) if filled else F(1)
    found = []
    for (name, bag), length in zip(bags, lengths, strict=True):
        quantised = max(int(value) for value in LENGTHS if value <= length)
        c = F(1) / (F(k1) * ((F(1) - F(b)) + F(b) * F(quantised) / average))
        total = 0.0
        for term, boost in Counter(analyze(query)).items():
            if bag[term]:
                frequency = sum(term in other for _, other in bags)
                w = F(boost) * F(math.log(1 + (filled - frequency + 0.5) / (frequency + 0.5)))
                total += float(w - w / (F(1) + F(bag[term]) * c))
        if total > 0:
            found.append((-F(total), name))
    return [(name, float(-score)) for score, name in sorted(found)[:k]]


WORDS = [f"w{number}" for number in range(12)]
texts = st.lists(st.sampled_from(WORDS[:3] * 6 + WORDS), max_size=14).map(" ".join)


@settings(max_examples=120, deadline=None)
@given(st.lists(texts, max_size=40), st.lists(st.sampled_from([*WORDS, "absent"]), min_size=1, max_size=7).map(" ".join), st.integers(1, 6))
def test_equals_the_plain_scorer(tmp_path_factory, bodies, query, k):
    documents = [(f"{(number * 7919) % 1000}", body) for number, body in enumerate(bodies)]
    index = BM25Index.build(documents, tmp_path_factory.mktemp("bm25") / "index")
    hits = index.search(query, k)
    assert [(hit.id, hit.score) for hit in hits] == plain_search(documents, query, k)
    assert [documents[hit.ordinal][0] for hit in hits] == [hit.id for hit in hits]
    assert index.search(query, k) == hits, "a search leaves nothing behind"
    assert index.ordinals(query, k) == [hit.ordinal for hit in hits]


def zipf_documents(count, seed=0):
    rng = np.random.default_rng(seed)
    return [(f"d{number}", " ".join(f"t{rank}" for rank in rng.zipf(1.3, 30) if rank < 5000)) for number in range(count)]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return BM25Index.build(zipf_documents(6000), tmp_path_factory.mktemp("large") / "index", processes=1)


def test_pruning_changes_nothing(large, monkeypatch):
    """Queries of common and rare terms, for several k, with pruning and with every term read in full."""
    rng = np.random.default_rng(1)
    queries = [" ".join(f"t{rank}" for rank in rng.zipf(1.2, 6) if rank < 5000) for _ in range(150)]
    queries += ["t1 t2 t3", "t1", "t1 t1 t2", "t900 t1 t2 t3 t4 t5"]
    pruned = {(query, k): large.search(query, k) for query in queries for k in (1, 10, 50)}
    lookups = []
    import empg_gym.retrieval.topk as topk

    original = topk._lookup
    monkeypatch.setattr(topk, "_lookup", lambda *args: lookups.append(1) or original(*args))
    again = {key: large.search(*key) for key in pruned}
    assert again == pruned and len(lookups) > 50, "the pruned way was taken"
    everything = {query: large.search(query, len(large)) for query in queries}
    for (query, k), hits in pruned.items():
        assert hits == everything[query][:k]


@pytest.mark.parametrize("length", [1, 7, 1000, 5999])
def test_ranges_change_nothing(large, monkeypatch, length):
    """The ranges in which passages are scored leave no trace, ties across their borders included."""
    import empg_gym.retrieval.bm25 as bm25

    rng = np.random.default_rng(4)
    count = 3 if length == 1 else 40
    queries = [" ".join(f"t{rank}" for rank in rng.zipf(1.2, 6) if rank < 5000) for _ in range(count)] + ["t1", "t900 t1 t2"]
    whole = {(query, k): large.search(query, k) for query in queries for k in (1, 50)}
    monkeypatch.setattr(bm25, "RANGE", length)
    in_ranges = BM25Index.open(large.folder)
    assert {key: in_ranges.search(*key) for key in whole} == whole


def test_kth_of_many_equals_sorting():
    rng = np.random.default_rng(2)
    for size, k in ((1, 1), (9000, 10), (200_000, 10), (200_000, 3000)):
        values = np.round(rng.random(size), 3)
        assert _kth(values, k) == np.sort(values)[-k]


def test_lengths_are_quantised_as_in_lucene():
    table = {0: 0, 23: 23, 24: 24, 39: 39, 40: 40, 41: 40, 42: 42, 43: 42, 55: 54, 56: 56, 59: 56, 100: 96, 300: 280}
    assert {length: int(LENGTHS[length_codes(np.array([length]))[0]]) for length in table} == table
    assert len(set(LENGTHS.tolist())) == 256 and list(LENGTHS) == sorted(LENGTHS)


def test_the_files_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    import empg_gym.retrieval.invert as invert

    monkeypatch.setattr(invert, "PARALLEL_FROM", 1000)
    documents = zipf_documents(9000, seed=3)
    one = BM25Index.build(iter(documents), tmp_path / "one", processes=1)
    two = BM25Index.build(iter(documents), tmp_path / "two", processes=2)
    assert one.fingerprint == two.fingerprint
    names = {path.name for path in one.folder.iterdir()}
    assert names == {path.name for path in two.folder.iterdir()}
    assert all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)


def test_fingerprint_tells_documents_and_parameters_apart(tmp_path):
    prints = [
        BM25Index.build(documents, tmp_path / str(number), **parameters).fingerprint
        for number, (documents, parameters) in enumerate(
            [
                ([("a", "x"), ("b", "y")], {}),
                ([("a", "x"), ("b", "z")], {}),
                ([("ab", "x"), ("", "y")], {}),
                ([("b", "y"), ("a", "x")], {}),
                ([("a", "x"), ("b", "y")], {"k1": 1.2}),
            ]
        )
    ]
    assert len(set(prints)) == 5


def test_small_and_odd_inputs(tmp_path):
    empty = BM25Index.build([], tmp_path / "empty")
    assert len(empty) == 0 and empty.search("anything", 5) == [] and empty.ordinal("a") is None
    odd = BM25Index.build([("z", ""), ("ünï", "one \ud800 é"), ("", "one one")], tmp_path / "odd")
    assert [hit.id for hit in odd.search("ONE", 9)] == ["", "ünï"]
    assert odd.ordinal("ünï") == 1 and odd.ordinal("") == 2 and odd.ordinal("nothing") is None
    assert odd.search("", 3) == odd.search("the of", 3) == odd.search("\ud800\x00", 3) == []
    assert odd.search("one " * 30_000, 1)[0].id == ""
    with pytest.raises(IndexError):
        odd.id(3)


def test_arguments_are_checked(tmp_path):
    index = BM25Index.build([("a", "x")], tmp_path / "index")
    with pytest.raises(ConfigError, match="k must be at least 1"):
        index.search("x", 0)
    with pytest.raises(ConfigError, match="k1 must be above 0"):
        BM25Index.build([], tmp_path / "other", k1=0)
    with pytest.raises(OutputExistsError, match="remove it"):
        BM25Index.build([], tmp_path / "index")
    with pytest.raises(DataError, match="same id 'a'"):
        BM25Index.build([("a", "x"), ("b", "y"), ("a", "z")], tmp_path / "twice")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["index"]


def test_pickled_and_threaded_searches_agree(large):
    queries = [f"t{number} t{number * 2} t1" for number in range(1, 60)]
    expected = [large.search(query, 10) for query in queries]
    copy = pickle.loads(pickle.dumps(large))
    assert [copy.search(query, 10) for query in queries] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: large.search(query, 10), queries * 3)) == expected * 3


@pytest.mark.parametrize("name", ["terms.bytes", "passages.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_index_is_named(tmp_path, name, damage):
    path = BM25Index.build([("a", "some words here"), ("b", "other words")], tmp_path / "index").folder / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"build"):
        BM25Index.open(tmp_path / "index")
