from __future__ import annotations

import gzip
import json
import pickle

import pytest

from empg_gym.errors import ConfigError, DataError, MissingDependencyError
from empg_gym.retrieval import Page, Passage, open_corpus
from empg_gym.retrieval.backends import LocalRetriever, VisitFailed, local_retriever
from empg_gym.retrieval.corpus import contents_of

ROWS = [
    {"id": "0", "contents": '"Ada Kest"\nAda Kest was a potter from Onder.', "url": "https://c.local/ada"},
    {"id": "1", "title": "Onder", "text": "Onder is a town of potters.", "url": "https://c.local/onder", "extra": 1},
    {"id": 2, "title": "Onder", "text": "Its river is the Ille.", "url": "https://c.local/onder"},
    {"id": "3", "text": "No title, no address, potter potter."},
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    return open_corpus(path, cache=tmp_path / "cache")


def test_both_forms_are_read_and_found(corpus):
    assert [corpus.passage(number) for number in range(4)] == [
        Passage("0", "Ada Kest", "Ada Kest was a potter from Onder.", "https://c.local/ada"),
        Passage("1", "Onder", "Onder is a town of potters.", "https://c.local/onder"),
        Passage("2", "Onder", "Its river is the Ille.", "https://c.local/onder"),
        Passage("3", "", "No title, no address, potter potter.", ""),
    ]
    assert corpus.find("2") == corpus.passage(2) and corpus.find("9") is None
    assert contents_of(ROWS[1]) == '"Onder"\nOnder is a town of potters.'
    [found] = LocalRetriever(corpus).search(["river of Onder"], 2)
    assert found[0].id == "2" and found[0].score > found[1].score > 0


def test_pages_join_the_passages_of_an_address(corpus):
    retriever = LocalRetriever(corpus)
    assert retriever.visit("https://c.local/onder") == Page(
        "https://c.local/onder", "Onder", "Onder is a town of potters.\n\nIts river is the Ille."
    )
    for url in ("", "https://c.local/", "file:///etc/passwd"):
        with pytest.raises(VisitFailed, match="no page"):
            retriever.visit(url)


def test_the_cache_goes_by_content(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    text = "\n".join(map(json.dumps, ROWS))
    first.write_text(text)
    with gzip.open(second, "wt") as handle:
        handle.write(text)
    cache = tmp_path / "cache"
    one, two = open_corpus(first, cache=cache), open_corpus(second, cache=cache)
    assert one.fingerprint == two.fingerprint and one.folder != two.folder
    first.rename(tmp_path / "c.jsonl")
    assert open_corpus(tmp_path / "c.jsonl", cache=cache).folder == one.folder
    first.write_text(text.replace("river", "stream"))
    changed = open_corpus(first, cache=cache)
    assert changed.folder != one.folder and changed.fingerprint != one.fingerprint
    assert changed.index.search("stream", 1) and not one.index.search("stream", 1)
    assert open_corpus(first, cache=cache, b=0.75).folder != changed.folder
    assert pickle.loads(pickle.dumps(one)).fingerprint == one.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "0", "text": "x"}\n{"id"', "line 2: not JSON"),
        ('\n["a"]', "line 2: a passage must be a JSON object with an id"),
        ('{"text": "x"}', "line 1: a passage must be a JSON object with an id"),
        ('{"id": "0", "title": "x"}', r"line 1: a passage needs `contents` \(wiki-18\) or `text`; got the members \['id', 'title'\]"),
        ('{"id": "0", "text": "x"}\n{"id": "0", "text": "y"}', "records 0 and 1 have the same id"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "corpus.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        open_corpus(path, cache=tmp_path / "cache")
    with pytest.raises(DataError, match="the corpus file"):
        open_corpus(tmp_path / "absent.jsonl")


def test_a_cut_gzip_file_is_named(tmp_path):
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROWS[0]).encode() * 50)[:-9])
    with pytest.raises(DataError, match="can't read the corpus"):
        open_corpus(path, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["bm25", "bm25s", "tantivy"])
def test_every_engine_fits_the_protocol(corpus, name):
    if name != "bm25":
        pytest.importorskip(name)
    retriever = local_retriever(name, corpus)
    for engine in (retriever, pickle.loads(pickle.dumps(retriever)), local_retriever(name, corpus)):
        assert engine.search([], 3) == []
        found = engine.search(["who is the potter Ada", "", "the of", "not -potter AND (x", "Onder " * 400], 3)
        assert [len(passages) for passages in found] == [3, 0, 0, 3, 3]
        assert found[0][0] == Passage("0", "Ada Kest", ROWS[0]["contents"].partition("\n")[2], "https://c.local/ada", found[0][0].score)
        for passages in found:
            assert [p.score for p in passages] == sorted((p.score for p in passages), reverse=True)
        assert len(engine.search(["potter"], 100)[0]) == 3


def test_engines_are_named(corpus, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'tantivy'"):
        local_retriever("tantivi", corpus)
    monkeypatch.setitem(__import__("sys").modules, "tantivy", None)
    with pytest.raises(MissingDependencyError, match=r"empg-gym\[search\]"):
        local_retriever("tantivy", corpus)
