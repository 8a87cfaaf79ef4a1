"""Recall of gold passages on the Deep Search reference corpus (9,002 passages).

The spec's table was measured on 100 questions of each set. With the 100 at hand (`*_train100.jsonl`) our figures are the table's, to
0.01. With 60 of them two things are checked: that the table and our figures can both be right, the 40 other questions making up the
difference; and that our committed figures for the 60 (`benchmarks.retrieval_recall`) are what is measured now, to 0.01.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.retrieval_recall import RESULT, TABLE, measure
from empg_gym.retrieval import open_corpus
from tests.reference import reference_data

GOLD_PASSAGES = {"hotpotqa": 200, "musique": 237}
"""Of the 100 questions of each set; the spec names the sum, and each question of HotpotQA has two."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return open_corpus(reference_data("deepsearch") / "corpus.jsonl", cache=tmp_path_factory.mktemp("corpora"))


@pytest.mark.parametrize("name", ["hotpotqa", "musique"])
def test_recall(corpus, name):
    assert len(corpus) == 9002
    ours, table = measure(corpus, reference_data("deepsearch"), name), TABLE[name]
    if ours["questions"] == table["questions"]:
        for figure in ("recall", "title"):
            assert ours[figure] == pytest.approx(table[figure], abs=0.01)
        assert ours["complete"] == pytest.approx(table["complete"], abs=1)
        return
    committed = json.loads(RESULT.read_text())["sets"][name]
    assert committed["table"] == table
    assert ours["questions"] == committed["ours"]["questions"] == 60
    assert ours["complete"] == committed["ours"]["complete"]
    for figure in ("recall", "title"):
        assert ours[figure] == pytest.approx(committed["ours"][figure], abs=0.01)
    for wanted, found in zip(table["recall"], ours["recall"], strict=True):
        assert 0 <= 100 * wanted - 60 * found <= 40
    for wanted, found in zip(table["complete"], ours["complete"], strict=True):
        assert 0 <= wanted - found <= 40
    total, known = GOLD_PASSAGES[name], ours["passages"]
    for wanted, found in zip(table["title"], ours["title"], strict=True):
        assert -0.5 <= total * wanted - known * found <= total - known + 0.5, "the titles of the other questions' passages"
