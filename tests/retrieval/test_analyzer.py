from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.retrieval.analyzer import STOP_WORDS, analyze, tokens
from empg_gym.retrieval.porter import stem
from empg_gym.retrieval.unicode_words import MAX_TOKEN, words

CASES = {
    "The dog's 3.5oz toys": ["dog", "3.5oz", "toi"],
    "usb-c size:7.5 men_women": ["usb", "c", "size", "7.5", "men_women"],
    "color:red 1,000.50 a:b 1:2": ["color:r", "1,000.50", "a:b", "1", "2"],
    "it's O'Neil’s DOG'S dogs'": ["o'neil", "dog", "dog"],
    "_ __ a_b _x_": ["a_b", "_x_"],
    "": [],
    "the THE not": [],
    "Straße CAFÉ naïve": ["straße", "café", "naïv"],
    "日本語 ひらがな": ["日", "本", "語", "ひ", "ら", "が", "な"],
    "カタカナ한국어": ["カタカナ", "한국어"],
    "a★b ☺ 👩‍👩‍👧 🇩🇪": ["★", "b", "☺", "👩‍👩‍👧", "🇩🇪"],
    "ΟΔΟΣ İ": ["οδοσ", "i"],
    "x\u00ady soft\u200djoin": ["x\u00ady", "soft\u200djoin"],
}


@pytest.mark.parametrize("text", CASES)
def test_cases_worked_by_hand(text):
    assert analyze(text) == CASES[text]


def test_long_tokens_are_cut_into_pieces():
    assert [len(term) for term in analyze("9" * 600)] == [255, 255, 90]
    assert [len(term) for term in analyze("é" * 600)] == [255, 255, 90]
    # A piece ends before a full stop that would have been its last character.
    assert analyze("9" * 254 + "." + "9" * 10) == ["9" * 254, "9" * 10]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_the_short_way_for_ascii_is_the_full_one(text):
    assert [token.lower() for token in words(text) if token.strip("_")] == [token for token in tokens(text) if token.strip("_")]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_clean_terms(text):
    for term in analyze(text):
        assert term and len(term) <= 2 * MAX_TOKEN and not set(term) & set(" \t\n\r")


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("aB1é_.'’:, 本の👍\u0301"), max_size=60))
def test_white_space_splits_independently(text):
    """What the mixed path does (cut at white space, plain parts apart) is what the whole pattern does."""
    assert [term for word in text.split(" ") for term in analyze(word)] == analyze(text)


def test_a_long_text_takes_time_in_proportion():
    assert len(analyze("x" * 100_000)) == 393
    assert len(analyze("é's" * 40_000)) > 0
    assert analyze("'" * 100_000) == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster")),
        *(("bled", "bled"), ("motoring", "motor"), ("sing", "sing"), ("conflated", "conflat"), ("troubled", "troubl"), ("hopping", "hop")),
        *(("falling", "fall"), ("hissing", "hiss"), ("failing", "fail"), ("filing", "file"), ("happy", "happi"), ("sky", "sky")),
        *(("relational", "relat"), ("conditional", "condit"), ("rational", "ration"), ("digitizer", "digit"), ("conformably", "conform")),
        *(("radically", "radic"), ("vietnamization", "vietnam"), ("operator", "oper"), ("feudalism", "feudal"), ("callousness", "callous")),
        *(("triplicate", "triplic"), ("formative", "form"), ("electricity", "electr"), ("hopeful", "hope"), ("goodness", "good")),
        *(("revival", "reviv"), ("inference", "infer"), ("adoption", "adopt"), ("replacement", "replac"), ("communism", "commun")),
        *(("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controlling", "control"), ("roll", "roll")),
        *(
            ("possibly", "possibl"),
            ("biology", "biologi"),
            ("archaeology", "archaeolog"),
            ("is", "is"),
            ("yes", "ye"),
            ("as", "as"),
            ("10s", "10"),
            ("sses", "ss"),
        ),
    ],
)
def test_stems(word, expected):
    """Porter's own examples, and where his extensions and the two-letter rule decide."""
    assert stem(word) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("abdeginlosty"), max_size=12))
def test_a_stem_is_never_longer_and_keeps_the_beginning(word):
    found = stem(word)
    assert len(found) <= len(word) and found[:1] == word[:1] and (found or not word)


def test_there_are_33_stop_words():
    assert len(STOP_WORDS) == 33
