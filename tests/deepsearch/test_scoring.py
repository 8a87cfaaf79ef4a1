"""Every score on cases worked by hand."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.deepsearch.scoring.text import cover_match, exact_match, f1_score, normalize_answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Answer, is: a Cat's", "answer is cats"),
        ("", ""),
        ("the", ""),
        ("A.N. Other", "other"),  # punctuation first: "an other", then the article goes
        ("theatre an-the", "theatre anthe"),
        ("U.S.A.", "usa"),
        ("Tab\there\nthere", "tab here there"),
        ("an apple a day", "apple day"),
        ("Wilhelm Conrad Röntgen", "wilhelm conrad röntgen"),
        ("1,000.5", "10005"),
        ("“quoted” – dash", "“quoted” – dash"),  # only ASCII punctuation goes
        ("İstanbul", "i̇stanbul"),
        ("a_b", "ab"),
        ("$5 `x` ~y^", "5 x y"),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@given(st.text(max_size=60) | st.text("aAnthe .,'-_\t", max_size=30))
def test_normalisation_is_squads_byte_for_byte(text: str) -> None:
    lowered = text.lower()
    without = "".join(ch for ch in lowered if ch not in set(string.punctuation))
    assert normalize_answer(text) == " ".join(re.sub(r"\b(a|an|the)\b", " ", without).split())


@pytest.mark.parametrize(
    ("answer", "golds", "value"),
    [
        ("the Paris!", ["Paris"], 1.0),
        ("Paris, France", ["Paris"], 0.0),
        ("NYC", ["New York", "nyc"], 1.0),
        ("", [""], 1.0),
        ("x", [], 0.0),
        ("yes.", ["Yes"], 1.0),
    ],
)
def test_exact_match(answer: str, golds: list[str], value: float) -> None:
    assert exact_match(answer, golds) == value


@pytest.mark.parametrize(
    ("answer", "golds", "value"),
    [
        ("New York City", ["New York"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),  # 0.8
        ("york york", ["york"], 2 * 0.5 * 1 / 1.5),  # multiset: one of two counts
        ("york york", ["york york"], 1.0),
        ("Lyon", ["Paris"], 0.0),
        ("yes it is", ["yes"], 0.0),  # one side is yes and they differ
        ("yes", ["yes"], 1.0),
        ("no", ["no idea"], 0.0),
        ("noanswer", ["no answer"], 0.0),
        ("a cat", ["the cat", "dog"], 1.0),
        ("", ["x"], 0.0),
        ("x", [], 0.0),
        ("big red dog", ["red dog", "big red dog house"], 6 / 7),
    ],
)
def test_f1(answer: str, golds: list[str], value: float) -> None:
    assert f1_score(answer, golds) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "golds", "value"),
    [
        ("It was Paris", ["Paris"], 1.0),
        ("York is New", ["New York"], 1.0),  # order does not count
        ("Par is", ["Paris"], 0.0),  # words, not substrings
        ("it is not known", ["no"], 0.0),
        ("True", ["yes"], 1.0),
        ("no", ["False"], 1.0),
        ("yes no", ["yes"], 0.0),
        ("yes, or no", ["no"], 0.0),
        ("1990 1991 1992", ["1991"], 0.0),
        ("in 1991", ["1991"], 1.0),
        ("born 1902, died 1980", ["1902"], 0.0),
        ("Rome, Paris, London, Berlin", ["Paris"], 0.0),  # four candidates
        ("Rome or Paris or Berlin or London", ["Paris"], 0.0),
        ("Paris, France", ["Paris"], 1.0),
        ("Paris London Rome Berlin Madrid Lisbon Vienna Prague Oslo", ["Paris"], 0.0),  # nine words for one
        ("red, white, blue, green and gold", ["red, white, blue, green and gold"], 1.0),
        ("word " * 70, ["word " * 70], 0.0),
        ("anything", ["the"], 0.0),
        ("", ["x"], 0.0),
    ],
)
def test_cover_match_is_guarded_against_lists(answer: str, golds: list[str], value: float) -> None:
    assert cover_match(answer, golds) == value


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=20), max_size=3))
def test_scores_are_between_0_and_1_and_agree(answer: str, golds: list[str]) -> None:
    values = [score(answer, golds) for score in (exact_match, f1_score, cover_match)]
    assert all(0.0 <= value <= 1.0 for value in values)
    if values[0] == 1.0:
        assert values[1] in (0.0, 1.0)  # 0 where both are empty after normalisation
