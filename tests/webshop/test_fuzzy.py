import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.webshop.fuzzy import THRESHOLD, matches, token_set_ratio

words = st.lists(
    st.sampled_from(["red", "read", "shoe", "shoes", "x", "large", "Large!", "größe", "_a", "essential oil", "oils"]), max_size=6
)


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        ("large", "x-large", 100),
        ("essential oil", "essential oils", 96),
        ("", "red", 0),
        ("!!!", "red", 0),
        ("red", "blue", 29),
        ("Größe", "gr e", 57),
        ("fuzzy was a bear", "fuzzy fuzzy was a bear", 100),
        ("snake_case", "snake case", 50),
    ],
)
def test_known_ratios(first, second, ratio):
    assert token_set_ratio(first, second) == ratio


@given(words, words)
def test_the_quick_decision_equals_the_slow_one(first, second):
    x, y = " ".join(first), " ".join(second)
    assert matches(x, y) == (token_set_ratio(x, y) > THRESHOLD)


@given(st.text(max_size=30), st.text(max_size=30))
def test_quick_decision_on_any_text(x, y):
    assert matches(x, y) == (token_set_ratio(x, y) > THRESHOLD)
